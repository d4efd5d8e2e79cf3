"""Threads of the storer that work without a call: archiving idle katas, copying to the archive."""
