"""Explicit random generators: one that outlives a call is continued by it, one made inside starts anew each time.

What is drawn from a generator that the program makes and seeds itself is the same in every run, a constant. A generator
is known by the address of its C++ object: a dispatch mode is given another Python object for it at every call.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fxsolve.errors import CaptureError
from fxsolve.state.random_state import RandomState, read_random_state
from fxsolve.state.reach import Reach, find_reach
from fxsolve.torch_compat.tensors import address_of_generator

_LARGEST_SEED = 2**32
_DEFAULT_SEED = torch.Generator().initial_seed()


class Known(NamedTuple):
    """A generator that was there before the recorded run, and its state then."""

    generator: torch.Generator
    state: Tensor


def restore_generators(known: Iterable[Known]) -> None:
    """Put every one back into its state."""
    for generator, state in known:
        generator.set_state(state)


def find_generators(reach: Reach, arguments: tuple[Any, ...]) -> dict[int, Known]:
    """The generators among the arguments, the reached places and the attributes of the reached modules, by address."""
    held = [*arguments, *(place.read() for place in reach.places)]
    held += [value for root in reach.modules.values() for part in root.modules() for value in vars(part).values()]
    found = [generator for value in held for generator in _generators(value)]
    return {address_of_generator(generator): Known(generator, generator.get_state()) for generator in found}


def _generators(value: Any) -> Iterator[torch.Generator]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
    yield from (item for item in items if isinstance(item, torch.Generator))


class FreshGenerators:
    """Generators that were not there before the recorded run, as far as is known."""

    def __init__(self) -> None:
        self._sources: dict[int, str] = {}

    def add(self, generator: torch.Generator, source: str) -> None:
        """Note a generator; CaptureError if its seed may be another one in the next run."""
        seed = generator.initial_seed()
        if seed >= _LARGEST_SEED and seed != _DEFAULT_SEED:
            raise CaptureError(f"{source}: a generator with a seed of more than 32 bits may be seeded by chance.")
        self._sources.setdefault(address_of_generator(generator), source)

    def check(self) -> None:
        """Raises CaptureError if one of them is still held: then it may have been there before."""
        if not self._sources:
            return
        gc.collect()
        for held in gc.get_referents(*gc.get_objects()):
            source = self._sources.get(address_of_generator(held)) if type(held) is torch.Generator else None
            if source is not None:
                raise CaptureError(
                    f"{source}: random numbers are drawn from a generator that outlives the call; pass it as an "
                    "argument, or keep it as an attribute of the module."
                )


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
