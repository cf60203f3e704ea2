"""Domains: what is followed through a graph in the place of values."""
