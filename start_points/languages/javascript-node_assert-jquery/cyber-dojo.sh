for test in *-test.js; do node "$test" || exit; done
