"""From a recorded program to a system of equations: rolled repeats and the blocks between them.

`partition` is the way through it: `growing` and `padding` make the steps of growing sequences equal, `rolling` finds
loops and writes the system, `nesting` does the same for their steps, and the passes of `fxsolve.rewrite` split every
repeat. `generalize` makes of two systems, of one program at two lengths, the system at any other length.
"""
