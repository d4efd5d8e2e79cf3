# A file that can't be parsed would only be a test's wrong answer.
for file in *.sh; do bash -n "$file" || exit; done
for test in test_*.sh; do bash "$test"; done
