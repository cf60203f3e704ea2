"""Put the random generators of a program back."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fxsolve.state.generators import Known, find_generators, restore_generators
from fxsolve.state.random_state import RandomState, read_random_state
from fxsolve.state.reach import find_reach


def rewinder_of(program: Any, leaves: Iterable[Any]) -> Callable[[], None]:
    """A function that puts every generator that `program` may use with these arguments back to where it is now."""
    others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
    known = find_generators(find_reach(program, others), others)
    return partial(put_back, read_random_state(), tuple(known.values()))


def rewinder(generators: Iterable[torch.Generator]) -> Callable[[], None]:
    """A function that puts these generators, and no other, back to where they are now."""
    return partial(restore_generators, [Known(generator, generator.get_state()) for generator in generators])


def put_back(randomness: RandomState, known: Iterable[Known]) -> None:
    """Put the default generators back to a state, and others to those that they are `known` to have had."""
    randomness.restore()
    restore_generators(known)
