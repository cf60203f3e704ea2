"""Graph mathematics on integers, without tensors: labels in, loops and blocks out.

Of loops, `periods` finds runs of equal labels at one distance, `slots` the rule by which each argument changes from
step to step, `levels` the depth of a triangular pattern. Of straight-line code, `grouping` makes equation blocks,
`mirror` those of a backward pass, and `quotient` says of these who reads whom over how many levels, which chain is the
longest, and what so many units that work at once would take.
"""
