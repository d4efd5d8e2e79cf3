"""The RPCs of the runner: they validate, admit runs, call the domain, and convert messages."""
