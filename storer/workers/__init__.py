"""Background threads of the storer: they work without a call."""
