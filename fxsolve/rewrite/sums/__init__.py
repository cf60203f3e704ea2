"""Sums over the steps of a repeat: found, split off, and added up at once."""
