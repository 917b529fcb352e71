"""Guests and kernels: the catalogue, how they are fetched and built, what runs inside."""
