"""Journals at random before the driver: one array, thousands of logs, in batches."""
