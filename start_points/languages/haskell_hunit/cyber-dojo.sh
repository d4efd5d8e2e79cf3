for test in test_*.hs; do runghc -Wall "$test"; done
