"""L1, pure: traces, legal crash states, workloads."""
