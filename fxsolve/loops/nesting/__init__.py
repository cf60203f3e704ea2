"""Loops in loops."""
