files=$(printf "'%s'," *.pl *.plt)
load="load_files([${files%,}])"
# What can't be loaded is left out, and the rest would be tested.
swipl --on-error=halt -g "$load" -g halt || exit
swipl -g "$load" -g run_tests -g halt
