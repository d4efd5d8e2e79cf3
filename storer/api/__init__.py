"""The storer's RPCs: they validate, call what is below, and adapt messages."""
