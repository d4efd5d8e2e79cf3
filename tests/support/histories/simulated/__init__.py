"""Histories that are made without a storer, right and wrong ones."""
