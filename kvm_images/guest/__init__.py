"""What runs inside a guest: stand-alone programs on the standard library."""
