"""A row of the table: a program, its calls, what is found in it, and how it runs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

B, T, N = 2, 6, 3

Inputs = Callable[[int], tuple[Any, ...]]


@dataclass(frozen=True)
class Row:
    """One program, called on the inputs of `calls` in turn, and what must be found.

    `loops` has one text per repeat: its trip count and the kinds of its reads. For nested loops `trips` are given in
    their place: trip counts that are found at some depth. `ran` says what answered the last call: the module that was
    emitted ("emitted"), a new recording ("recorded"), or the original ("original"), then for a reason that contains
    `reason`. `note` is in a note. `runs` are the trip counts of the loops that ran last, where they are not those of
    `loops`. `recordings` counts the versions that are kept, those that are left alone included, and `affine` the loops
    whose steps are proved to be affine in what they carry.

    Every call gets `inputs(k)`, which `feed` changes where an earlier result is to be passed back, and `kwargs(k)`.
    `between` is done to the program after each call; what it returns, if anything, is the program from then on.
    """

    name: str
    build: Callable[[], Callable[..., Any]]
    inputs: Inputs
    loops: tuple[str, ...] = ()
    trips: tuple[int, ...] | None = None
    guards: int = 0
    draws: int = 0
    mutations: int = 0
    stores: int = 0
    recordings: int = 1
    ran: str = "emitted"
    reason: str = ""
    note: str = ""
    runs: tuple[int, ...] = ()
    affine: int = 0
    schedule: str = "gs"
    tolerance: float = 0.0
    grad: bool = False
    calls: tuple[int, ...] = (1, 2)
    options: Mapping[str, Any] = field(default_factory=dict)
    mode: Callable[[], AbstractContextManager[Any]] = torch.no_grad
    kwargs: Callable[[int], dict[str, Any]] = lambda k: {}
    feed: Callable[[Any, tuple[Any, ...]], tuple[Any, ...]] = lambda result, args: args
    between: Callable[[Any], Any] = lambda program: None

    def __str__(self) -> str:
        return self.name


def row(inputs: Inputs, *loops: str, **facts: Any) -> Callable[[Any], Row]:
    """The row of the decorated function, or of a module class."""

    def decorate(program: Any) -> Row:
        return Row(program.__name__, program if isinstance(program, type) else lambda: program, inputs, loops, **facts)

    return decorate


def rows_of(namespace: Mapping[str, Any]) -> list[Row]:
    """The rows among the values of a module, those in lists included."""
    found = [value for value in namespace.values() if isinstance(value, Row)]
    lists = [value for value in namespace.values() if isinstance(value, list)]
    return found + [one for values in lists for one in values if isinstance(one, Row)]


def numbers(k: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers, the same ones for the same arguments."""
    seed = hash((k, *shape)) % 2**31
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Inputs:
    """One tensor for each of the shapes, other numbers at each call."""
    return lambda k: tuple(numbers(k + 10 * place, *shape, dtype=dtype) for place, shape in enumerate(shapes))


SEQUENCE = tensors((T, B, N))
VECTOR = tensors((B, N))
WEIGHTED = tensors((T, B, N), (N, N))


class Double(nn.Module):
    """A module whose parameters are double numbers, always the same ones."""

    def __init__(self) -> None:
        torch.manual_seed(7)
        torch.set_default_dtype(torch.float64)
        super().__init__()
        self.prepare()
        torch.set_default_dtype(torch.float32)

    def prepare(self) -> None:
        """Make the parameters."""
