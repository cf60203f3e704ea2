"""What compiling costs, what it saves, and what calls have lost without it.

`prices` predicts both from past compilations, `ledger` counts what the calls of one program have cost and lost.
"""
