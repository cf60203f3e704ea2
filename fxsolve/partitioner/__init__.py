"""From a recorded program to a system of equations: rolled repeats and the blocks between them."""
