"""What runs in the full guest."""
