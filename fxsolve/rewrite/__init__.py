"""Rewrites: of recorded graphs (`recorded`), of the repeats of a system (`pipeline`), and of whole systems.

`pipeline` puts reads into their simplest form and splits each repeat into its parts; `sums` finds what only adds up.
`blocks` writes straight-line code as equation blocks.
`joint` takes the forward and the backward pass apart, `restrict` leaves out of a backward pass what nobody asks for.
"""
