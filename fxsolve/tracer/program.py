"""The captured program: a functional ATen graph and everything needed to run it again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx
from torch.utils._pytree import TreeSpec

Role = Literal["input", "param", "buffer", "constant", "noise"]


class TensorSpec(NamedTuple):
    """Shape, stride, dtype and device of a value of the graph, kept in `node.meta["spec"]`."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True)
class Draw:
    """One random draw, made before the run in the order in which the program makes it.

    `sample()` calls the generator exactly as the program did, so the same seed gives the same value.
    """

    function: Callable[..., Tensor]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def sample(self) -> Tensor:
        return self.function(*self.args, **self.kwargs)

    @property
    def generator(self) -> torch.Generator | None:
        """The explicit generator among the arguments."""
        options = [self.kwargs, *(argument for argument in self.args if isinstance(argument, Mapping))]
        return next((one["generator"] for one in options if one.get("generator") is not None), None)


@dataclass(frozen=True)
class Guard:
    """A scalar that the program read while it was recorded; a run is valid only if it reads the same again."""

    expected: bool | int | float | complex
    source: str


@dataclass(frozen=True)
class Output:
    """How the program's return value is rebuilt: each leaf is a graph output (by number) or a constant."""

    spec: TreeSpec
    leaves: tuple[int | None, ...]
    constants: tuple[Any, ...]


@dataclass(frozen=True)
class Mutation:
    """A tensor that outlives the call and that the program writes into.

    `place` is the number of an input, or the target of an attribute. Graph output number `output` is what the tensor
    holds afterwards. `is_counted` tells whether autograd's version counter notices the write; it does not notice one
    through `.data`, or of running statistics.
    """

    place: int | str
    output: int
    is_counted: bool


@dataclass(frozen=True)
class Alias:
    """An output that shares memory with the tensor of a mutation, given by numbers.

    `view` is None where the output is that very tensor, otherwise the shape, the strides, and the offset from the first
    entry of the tensor.
    """

    output: int
    mutation: int
    view: tuple[tuple[int, ...], tuple[int, ...], int] | None


@dataclass(frozen=True)
class Example:
    """The recorded run: flat input tensors, noise, and the outputs that the original program returned.

    Inputs that the program writes into are copies from before the run; `attributes` holds such copies of the attributes
    that it writes into. The values that the run left in both follow the outputs.
    """

    inputs: tuple[Tensor, ...]
    noise: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A functional ATen graph equal to the recorded program, bit for bit.

    `module` has one placeholder per tensor input (in pytree order), then one per draw; `get_attr` nodes hold the
    model's own parameters, buffers and constants. It returns a flat tuple: first the program's tensor outputs, next the
    new values of its mutations, as many as `example.outputs` together, and then one 0-d or 1-element tensor per guard.
    Every call node carries `meta["spec"]` (a `TensorSpec`, or a tuple of them for ops with several outputs) and
    `meta["source"]` ("file:line" in the user's code). `roles` is keyed by the names of the placeholder and
    `get_attr` nodes.
    """

    module: fx.GraphModule
    roles: Mapping[str, Role]
    draws: tuple[Draw, ...]
    guards: tuple[Guard, ...]
    output: Output
    example: Example
    grad: bool
    name: str
    mutations: tuple[Mutation, ...] = ()
    aliases: tuple[Alias, ...] = ()


def attribute_of(program: Program, target: str) -> Tensor:
    """The parameter, buffer or constant behind a `get_attr` node."""
    value = program.module
    for part in target.split("."):
        value = getattr(value, part)
    return value  # pyright: ignore[reportReturnType]


def recorded_attribute(program: Program, target: str) -> Tensor:
    """As `attribute_of`, with the values that the recorded run started from."""
    value = program.example.attributes.get(target)
    return attribute_of(program, target) if value is None else value
