"""The runner's RPCs: they validate, admit, call what is below, and adapt messages."""
