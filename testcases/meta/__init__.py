"""The harness must fail when it should."""
