"""What `mdjournal` does before its own environment exists: on the standard library alone."""
