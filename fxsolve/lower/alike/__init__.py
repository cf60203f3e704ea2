"""Blocks that do the same on lists that grow, as in a dense block of a DenseNet, as one body for a sweep over all.

`norms` writes normalisations by fixed statistics as a scale and a shift, `match` finds which calls of several blocks
are the same one, `kinds` what each of them is made of, `build` makes the module that `solvers.alike` runs, and `find`
is the way in: rows of blocks -> those that are alike, and why others are not.
"""
