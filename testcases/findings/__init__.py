"""Reproducers of findings that are too slow for every day: each test passes while it is there."""
