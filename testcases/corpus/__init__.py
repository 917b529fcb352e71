"""Journals from real kernels, with what those kernels made of them."""
