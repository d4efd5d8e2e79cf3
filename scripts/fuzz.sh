#!/usr/bin/env bash
# scripts/fuzz.sh
#
# Sends the double of each bound, also of those that take minutes. Then fuzzes the services for
# FUZZ_SECONDS (3600 by default), with one random seed after another, or with FUZZ_SEED alone. Ends
# with the first finding: prints its seed and the file with its input.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

seconds=${FUZZ_SECONDS:-3600}
say "sending the double of each bound"
.venv/bin/python -m pytest tests/integration/test_bounds.py --all-bounds --quiet --tb=short
findings=build/fuzz
rm -rf "$findings"
rounds=0
while [ "$rounds" -eq 0 ] || { [ "$SECONDS" -lt "$seconds" ] && [ -z "${FUZZ_SEED:-}" ]; }; do
    seed=${FUZZ_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    say "fuzzing with seed $seed"
    # The tests' own limit is for tests that hang, and these are long.
    if ! .venv/bin/python -m pytest tests/fuzz --numprocesses auto --quiet --tb=short --maxfail=1 \
        --timeout=7200 --hypothesis-profile=fuzz --hypothesis-seed="$seed"; then
        say "a finding with seed $seed: FUZZ_SEED=$seed make fuzz"
        for file in "$findings"/*.json; do
            [ ! -e "$file" ] || say "its input: make fuzz-case CASE=$file"
        done
        exit 1
    fi
    rounds=$((rounds + 1))
done
say "no finding in $rounds rounds, $SECONDS s"
