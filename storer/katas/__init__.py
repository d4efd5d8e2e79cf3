"""The katas of one storer: found, created, fetched, replaced, deleted, listed."""
