"""Starts programs in containers that run already, and follows their processes."""
