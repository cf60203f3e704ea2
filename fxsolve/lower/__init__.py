"""Repeats as graphs and loops that solvers run."""
