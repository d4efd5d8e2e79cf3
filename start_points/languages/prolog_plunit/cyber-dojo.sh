# What can't be loaded is left out, and the rest would be tested.
swipl --on-error=halt -g halt -l *.pl *.plt || exit
swipl -g run_tests -g halt -l *.pl *.plt
