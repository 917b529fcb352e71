"""L4: what is done with all of it."""
