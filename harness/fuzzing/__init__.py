"""Journals at random, legal and hostile, for the driver and for the model alike."""
