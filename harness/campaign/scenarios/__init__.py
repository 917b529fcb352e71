"""L4: stories of a journaled array, step by step, on real kernels."""
