"""Sequences that grow at every step: joins in a chain, and loops whose sizes are affine in the step."""
