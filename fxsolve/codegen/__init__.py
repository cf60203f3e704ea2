"""Lowering of a schedule to an ordinary, readable PyTorch module."""
