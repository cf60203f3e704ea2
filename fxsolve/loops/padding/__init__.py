"""Loops whose tensors grow, on buffers of the final size: a rule for every op."""
