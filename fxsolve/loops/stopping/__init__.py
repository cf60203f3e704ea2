"""Loops that stop on a value: steps that end with the same read, which is another one in the last of them.

In comes a recorded program with guards for all that it read, out comes one in which such steps are a single call, and
their guards are gone.

- `find` looks for the steps; `backward` for those of the backward pass that run along them: `origins` tells which step
  a call differentiates.
- `step` writes one of them as a `Repeat`, call by call (`building`) but for those that give the same in every step
  (`invariant`); `results` are what is wanted of it.
- `end_numbers` are what calls beside these loops read of the numbers of the last steps.
- `fold` rewrites the program (`folding` is its graph meanwhile), loop by loop (`one`).
- `counts` compares two recordings of other numbers of steps, for numbers of Python that depend on these.

What one recording shows may be otherwise behind steps that it did not come to: `solvers.trips` knows which numbers of
steps were seen, and the runtime tries others next to the program.
"""
