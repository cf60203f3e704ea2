"""The backward pass of a program, recorded behind its forward pass."""
