"""Where recorded katas come from."""
