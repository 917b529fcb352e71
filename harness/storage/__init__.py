"""L3, effects: image files and the recording disk server."""
