"""Start points: the languages and exercises that katas are created from."""
