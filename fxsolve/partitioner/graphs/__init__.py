"""Graphs of bodies and blocks: to open, build and read them."""
