"""For each bound of `dojo.limits`, a case that sends its double."""
