"""Helpers of the runner's tests."""
