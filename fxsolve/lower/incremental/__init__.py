"""Gauss-Seidel that computes each entry of each value of a step once: what people write by hand as a cache.

In comes a repeat whose steps read a buffer that they write, out goes a `solvers.incremental.StepProgram`. `build` is
the way through it:

    step       the body as a graph of ATen calls on tensors
    final      from which step on each entry is what it stays: the domain of dependence, over one step
    needed     which entries anything sees: those behind a mask may be final later, or never
    regions    the dimensions along which entries are final at different steps
    timing     when each entry is computed: late, and many at once; what is computed in the same steps is a stage
    widths     a stage of steps that compute few places and others that compute many is several
    stage      a stage is traced twice, first to see which places and kept values it asks for, then as a graph; the
               first step is one of its own, which computes what is final before it and leaves room for all the rest
    tidy       views of views
    shorten    keys cut to those that the query of a step sees, where shapes may change with the step

Steps are those of the program, or, in a `solvers.step_order`, runs of several of them, which compute all of a level, or
those of a window that slides: then what may still change is computed again in each run.

`values` makes the values of a stage when they are asked for, at `places`, which are numbers of entries along some
dimensions, one row for each step. It takes them from what was kept, follows `moves` back to where entries come from,
computes them by the `rules`, or, where no rule fits, computes the whole value and takes from that. `layout` has how
values at places lie in memory.

Nothing here has to be right for the result to be: sweeps follow, which find what is not, and go on from there.

To add an op, add a row to `ops.facts`: the rules go by its form of access. To add a rule, write a function of
`(values, call, places, part)` that returns what stands at the places, (P, ...), or None, and enter it in `rules.RULES`
under its form of access; `tests/lower/incremental/test_rules.py` holds it against the whole value.
"""
