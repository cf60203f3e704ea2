"""From a recorded program to a system of equations: rolled repeats and the blocks between them.

`partition` is the way through it: `growing` and `padding` make the steps of growing sequences equal, `rolling` finds
loops and writes the system, `nesting` does the same for their steps, `rewriting` and `sums` split every repeat.
Later stages take from it: `lowering`, the loops that solvers run; `lengths`, a system at another length; `passes` and
`restrict`, its backward pass. All of them edit bodies and blocks with `graphs`.
"""
