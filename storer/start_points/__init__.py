"""Start points: the languages, exercises and custom ones that katas are created from."""
