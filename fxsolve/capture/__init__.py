"""Capture: one recorded run of an unmodified PyTorch program becomes a functional ATen graph."""
