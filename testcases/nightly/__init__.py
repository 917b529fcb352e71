"""What takes too long for the quick tests: `tools/mdjournal test -- testcases/nightly`."""
