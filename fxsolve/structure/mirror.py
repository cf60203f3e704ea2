"""Equation blocks of a backward pass: those of the forward pass, the other way round."""

from collections.abc import Sequence

from fxsolve.structure.quotient import Reads, readers_of

NOWHERE = -1  # in the place of a block


def mirror(reads: Reads, home: Sequence[int], carried: Sequence[bool], forward: Reads) -> tuple[int, ...] | None:
    """The forward block that each call of a backward pass belongs to; None where a block would read an earlier one.

    `home` is the block whose calls a call differentiates, or `NOWHERE`; `forward` says which blocks each block reads.
    What is `carried`, as a sum of gradients of one value, belongs to the only block that reads it, or to the one that
    made the value. So block i of the reverse system is

        x_i = sum_k d_ki,   d_ij = J_ij^T x_i,   for all k that read i in the forward pass, and all j that i reads,

    and gets all of these from where they are made, not as sums that one block hands on to the next.
    """
    readers = readers_of(reads)
    block = list(home)
    for call in reversed(range(len(reads))):
        if carried[call] or block[call] == NOWHERE:
            block[call] = _carried_to({block[reader] for reader in readers[call]}, block[call], forward)
    if NOWHERE in block or any(block[read] < block[call] for call, sources in enumerate(reads) for read in sources):
        return None
    return tuple(block)


def _carried_to(readers: set[int], home: int, forward: Reads) -> int:
    """Where what is carried belongs; `home` if that is not certain."""
    if len(readers) == 1:
        return next(iter(readers))
    made = forward[home] if readers and home != NOWHERE else ()
    return min((one for one in made if readers.issubset(forward[one])), default=home)
