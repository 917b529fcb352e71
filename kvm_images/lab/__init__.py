"""What runs on a lab machine while scenarios use it."""
