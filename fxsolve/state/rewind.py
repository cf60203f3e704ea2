"""Put the random generators of a program back."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from fxsolve.state.generators import find_generators, restore_generators
from fxsolve.state.random_state import read_random_state
from fxsolve.state.reach import find_reach


def rewinder_of(program: Any, leaves: Iterable[Any]) -> Callable[[], None]:
    """A function that puts every generator that `program` may use with these arguments back to where it is now."""
    others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
    randomness, known = read_random_state(), find_generators(find_reach(program, others), others)

    def rewind() -> None:
        randomness.restore()
        restore_generators(known.values())

    return rewind
