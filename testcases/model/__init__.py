"""The model against every era, generated journals and a second parser: slower than unit tests."""
