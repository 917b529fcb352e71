"""L3, effects: where commands run."""
