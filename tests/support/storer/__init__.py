"""Helpers of the storer's tests."""
