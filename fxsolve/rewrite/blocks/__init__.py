"""Straight-line code as equation blocks.

`split` writes the blocks that `fxsolve.structure.grouping` finds among `calls`, with `names` after their modules, and
of a backward pass those that are `mirrored`; `flatten` has joins read what they join where it was made.
"""
