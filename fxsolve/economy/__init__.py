"""What compiling costs, what it saves, and what calls have lost without it.

`prices` predicts both, from past compilations of this machine that `store` keeps on disk, and `ledger` counts what the
calls of one program have cost and lost; by the seconds of `clock`, or those that `work`
counts. `files` has what all of this is kept in.
"""
