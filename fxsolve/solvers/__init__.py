"""Numerical run time of emitted modules: loops, sweeps and stop tests, on torch alone."""
