"""The progress of a replay, and its report."""
