"""Rewrites of a recorded graph, before its loops are found."""
