"""Figures printed, none asserted."""
