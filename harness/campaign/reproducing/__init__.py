"""L4: reproducer bundles: packed, run again, reduced, scrubbed, written as scripts."""
