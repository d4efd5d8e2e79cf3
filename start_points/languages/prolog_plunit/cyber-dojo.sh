files=$(printf "'%s'," *.pl *.plt)
load="load_files([${files%,}])"
# Without this check swipl would leave out files with errors, and test the rest.
swipl --on-error=halt -g "$load" -g halt || exit
swipl -g "$load" -g run_tests -g halt
