"""Blocks that do the same on lists that grow, as in a dense block of a DenseNet, as one body for a sweep over all.

`find` is the way in: rows of blocks -> those that are alike, and why others are not. `match` finds which calls of
several blocks are the same one by `align`, after `fold` wrote `norms` and `gradients` by simpler calls. A forward pass
sums over what it joins: `kinds` says what each call is made of, and `build` makes the module that `solvers.alike` runs.
A backward pass spreads a sum of `parts` of gradients: `spread`, and `added`, which `solvers.added` runs.
"""
