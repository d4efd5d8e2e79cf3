"""The colour of a run: the rules that read it from the output, and what evaluates them."""
