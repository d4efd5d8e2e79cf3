"""What the fuzzers in tests/fuzz share: inputs, what they are checked by, services under watch."""
