"""From a schedule to an ordinary, readable PyTorch module.

In come a program, its system and a schedule, out comes an `fx.GraphModule` whose code is torch ops and calls into
`fxsolve.solvers`. `emit` is the way through it: `draws` makes the random numbers in the program's order, `equations`
writes each equation by its part of the schedule, `guards` returns what must be compared, and `own_memory` copies
results that would share memory. `passes` does the same for a forward and a backward pass apart, and `values` is the
graph that grows meanwhile, with the names of all values.
"""
