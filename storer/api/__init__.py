"""The storer's RPCs: each validates its request, calls the domain, and converts the result."""
