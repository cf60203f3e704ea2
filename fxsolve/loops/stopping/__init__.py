"""Loops that stop on a value: steps that end with the same read, which is another one in the last of them.

In comes a recorded program with guards for all that it read, out comes one in which such steps are a single call, and
their guards are gone: `find` looks for the steps, `step` writes one of them as a `Repeat`, `fold` rewrites the program.
"""
