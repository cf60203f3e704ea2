"""The captured program: a functional ATen graph and everything needed to run it again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx

from fxsolve.capture.stream import NO_STREAM, Stream
from fxsolve.state.held import NOTHING_HELD, Held
from fxsolve.state.stores import NO_STORES, Stores, View
from fxsolve.torch_compat.trees import TreeSpec

Role = Literal["input", "param", "buffer", "constant", "noise", "cotangent"]


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
    """What the program read while it was recorded, one number or all of a tensor's; a valid run reads the same."""

    expected: bool | int | float | complex | tuple[bool | int | float | complex, ...]
    source: str


@dataclass(frozen=True)
class Counted:
    """The number first + each * steps, where so many steps of the loop of this name ran in all of its solves."""

    loop: str
    first: int
    each: int


@dataclass(frozen=True)
class Output:
    """How the program's return value is rebuilt: each leaf is a graph output (by number) or a constant.

    A constant may be the number of steps of a loop that stops on a value. Of the graph outputs `numbers`, the leaf is
    the number that they hold.
    """

    spec: TreeSpec
    leaves: tuple[int | None, ...]
    constants: tuple[Any, ...]
    numbers: frozenset[int] = frozenset()


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

    `view` is None where the output is that very tensor.
    """

    output: int
    mutation: int
    view: View | None


@dataclass(frozen=True)
class Inner:
    """An output that other outputs were computed from, given by the numbers of their cotangents.

    Its whole gradient, which is its own cotangent and what comes back from the `followers`, is graph output `total`.
    """

    cotangent: int
    followers: frozenset[int]
    total: int


@dataclass(frozen=True)
class Backward:
    """The program's own backward pass, recorded behind its forward pass.

    Cotangent k belongs to output number `outputs[k]` of the program. The gradient of `places[j]`, the number of an
    input or the target of an attribute, is graph output number `gradients[j]`, or None where no output depends on it.
    Autograd finds one where any of the cotangents `reached[j]` is given. The totals of the `inner` outputs follow.
    """

    outputs: tuple[int, ...]
    places: tuple[int | str, ...]
    gradients: tuple[int | None, ...]
    reached: tuple[frozenset[int], ...]
    inner: tuple[Inner, ...]

    @property
    def results(self) -> int:
        """How many graph outputs are gradients or totals."""
        return sum(number is not None for number in self.gradients) + len(self.inner)


@dataclass(frozen=True)
class Example:
    """The recorded run: flat input tensors, noise, and the outputs that the original program returned.

    Inputs that the program writes into are copies from before the run; `attributes` holds such copies of the attributes
    that it writes into. The values that the run left in both follow the outputs, and the gradients for `cotangents`
    follow these. `state` are the tensors found in rebound places, which are the last inputs, and `before` is what all
    of these places held.
    """

    inputs: tuple[Tensor, ...]
    noise: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    cotangents: tuple[Tensor, ...] = ()
    state: tuple[Tensor, ...] = ()
    before: Held = NOTHING_HELD


@dataclass(frozen=True, repr=False)
class Program:
    """A functional ATen graph equal to the recorded program, bit for bit.

    `module` has one placeholder per tensor input (in pytree order, then those of `stores`), then one per draw, then one
    per cotangent; `get_attr` nodes hold the model's own parameters, buffers and constants. It returns a flat tuple:
    first the program's tensor outputs and what it stores besides, next the new values of its mutations, then its
    gradients, as many as `example.outputs` together, and at last one tensor per guard. Calls of the
    backward pass carry `meta["backward"]`.
    Every call node carries `meta["spec"]` (a `TensorSpec`, or a tuple of them for ops with several outputs) and
    `meta["source"]` ("file:line" in the user's code). `roles` is keyed by the names of the placeholder and
    `get_attr` nodes. The backward pass reads the tensors at the places `needed`. `notes` tell what was not found in it,
    for the report.
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
    backward: Backward | None = None
    stream: Stream = NO_STREAM
    stores: Stores = NO_STORES
    needed: tuple[int | str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line; `module.code` has the calls."""
        calls = sum(node.op == "call_function" for node in self.module.graph.nodes)
        parts = f"{calls} calls, {len(self.draws)} draws, {len(self.guards)} guards"
        return f"Program({self.name}: {parts}{', with its backward pass' if self.backward is not None else ''})"


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
