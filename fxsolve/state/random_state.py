"""The state of the default generators of random numbers."""

import random
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class RandomState:
    """The state of every generator that torch, Python and NumPy use by default.

    They are those of all threads: what another one draws while a program runs may be drawn again after `restore`.
    """

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    python: Any
    numpy: Any

    def restore(self) -> None:
        """Put every generator back into its state; nothing is done to those that are in it."""
        now = read_random_state()
        if not torch.equal(now.cpu, self.cpu):
            torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        if now.python != self.python:
            random.setstate(self.python)
        if self.numpy is not None and not _is_same(now.numpy, self.numpy):
            sys.modules["numpy"].random.set_state(self.numpy)

    def is_python_unchanged(self) -> bool:
        """Whether neither Python nor NumPy drew a random number since."""
        now = read_random_state()
        return now.python == self.python and _is_same(now.numpy, self.numpy)

    def is_torch_unchanged(self) -> bool:
        """Whether torch drew none."""
        now = read_random_state()
        return torch.equal(now.cpu, self.cpu) and all(map(torch.equal, now.cuda, self.cuda))


def _is_same(now: Any, before: Any) -> bool:
    """Whether NumPy's generator is in the state that it was in; its text would take a hundred times as long."""
    leaves, others = pytree.tree_leaves(now), pytree.tree_leaves(before)
    return len(leaves) == len(others) and all(map(sys.modules["numpy"].array_equal, leaves, others))


def read_random_state() -> RandomState:
    """The state of the default generators now."""
    numpy = sys.modules.get("numpy")
    return RandomState(
        torch.get_rng_state(),
        tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else (),
        random.getstate(),
        numpy.random.get_state(legacy=True) if numpy is not None else None,
    )
