"""L2, pure: what was predicted against what was observed."""
