"""The results of each test, which a run may leave in a file of its sandbox."""
