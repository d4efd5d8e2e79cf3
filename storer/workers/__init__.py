"""Background threads of the storer: one archives idle katas, one copies katas to the archive."""
