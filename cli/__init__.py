"""The storer's command line: a plain client of its RPCs, and of nothing else of it."""
