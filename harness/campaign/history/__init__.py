"""L4: what past nights said, in one SQLite file, and what tonight says that is new."""
