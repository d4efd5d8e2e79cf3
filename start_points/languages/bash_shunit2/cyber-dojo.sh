# Without this check a syntax error would look like a failed test.
for file in *.sh; do bash -n "$file" || exit; done
for test in test_*.sh; do bash "$test"; done
