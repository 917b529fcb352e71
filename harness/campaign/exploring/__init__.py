"""Record once, then let the kernel recover every legal crash state, judged by all oracles."""
