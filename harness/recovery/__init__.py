"""L1, pure: the kernel's recovery as a model. Geometry, parity, scan, plan."""
