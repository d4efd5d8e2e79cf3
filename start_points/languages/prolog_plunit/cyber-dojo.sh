for file in *.pl *.plt; do set -- "$@" -s "$file"; done
# What can't be loaded is left out, and the rest would be tested.
swipl --on-error=halt -g halt "$@" || exit
swipl -g run_tests -g halt "$@"
