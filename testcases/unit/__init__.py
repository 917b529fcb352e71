"""Needs no guest: seconds."""
