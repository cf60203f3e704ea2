"""Gauss-Seidel that computes each entry of each value of a step once."""
