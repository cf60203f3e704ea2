"""From a system to a decision: a schedule, which is the whole plan, with the facts and costs that it rests on.

    parse, text, complete    a schedule that a user wrote, completed with the equations that it does not name
    auto, rules              or the cheapest for each repeat, weighed on real values: the decision table is in `rules`
    legalize, guarded, ties  loops that a method does not fit, or that must be exact, run in order, with a note
    verify                   the laws of a schedule, checked against the system
    straight, legal_blocks, lower_blocks    the same for blocks that straight-line code was written as

A schedule is a tree (`schedule`, `method`): `Apply` a block, run `Steps`, or solve them by one of `methods`; sweep
several blocks or take them by levels. Everything
that runs has a node in it: `lower.lower(repeat, leaves)` makes a `solver.Solver` of them, which probing binds to
tensors and emission adds to a graph; nothing else decides how a repeat runs.

What is proved of a repeat: `proofs` (the facts that methods require, by name), from `causality`, `checks`, `depth`,
`facts`, `independence`, `samples` and `structural`. What is measured, for methods that have a price: `probe`, `nests`,
`trial`, `budget`.
`methods/__init__` says how to add a method, and an option of one.
"""
