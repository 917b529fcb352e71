"""Reports of a run, whatever ran: one neutral model, and writers that turn it into text."""
