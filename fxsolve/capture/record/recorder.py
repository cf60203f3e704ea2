"""The recorder: a dispatch mode that runs ATen calls on real tensors and writes them down."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, fx
from torch.autograd.graph import Node

from fxsolve.capture.backward.boundary import Earlier
from fxsolve.capture.communication import Line, called, is_inside_distributed
from fxsolve.capture.effects.externals import External, Externals
from fxsolve.capture.plain import refuse_unusual
from fxsolve.capture.program import Draw, Guard, Role
from fxsolve.capture.record.mutated import mutated_tensors
from fxsolve.capture.record.small_copies import SmallCopies
from fxsolve.capture.record.uninitialized import Uninitialized
from fxsolve.capture.source import user_line
from fxsolve.capture.stream import Listener
from fxsolve.capture.tape import NUMBER, Tape
from fxsolve.errors import CaptureError, CommunicationError
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.state.generators import FreshGenerators, Known
from fxsolve.state.memory import storage_of
from fxsolve.state.names import Names
from fxsolve.torch_compat.dispatch import LightMode, WithoutTorchFunction
from fxsolve.torch_compat.gradients import current_node, next_number, number_of
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.tensors import address_of_generator

aten = torch.ops.aten


ENDLESS = (
    "an argument was computed from another tensor that the program uses, through a custom function (or a checkpoint) "
    "that computes something even where it is given no gradient; detach the argument."
)


class Recorder(LightMode, Tape):
    """Runs every ATen call on the real tensors and appends it to a graph.

    `names` maps the id of each parameter and buffer of the program to its tensor, qualified name and role. A tensor
    that is neither an input nor the result of a recorded call is an external one: it becomes a `get_attr` node.
    `generators` are the explicit random generators that outlive the call, by their addresses. Once the program has used
    the `line` to other processes, calls only run.
    """

    supports_higher_order_operators = True

    def __init__(
        self, names: Mapping[int, tuple[Tensor, str, Role]], generators: Mapping[int, Known], line: Line
    ) -> None:
        LightMode.__init__(self)
        Tape.__init__(self)
        self.names = names
        self.line = line
        self._free = Names(name for _, name, _ in names.values())
        self.root: dict[str, Tensor] = {}
        self.roles: dict[str, Role] = {}
        self.draws: list[Draw] = []
        self.noise: list[Tensor] = []
        self.guards: list[Guard] = []
        self.guard_nodes: list[fx.Node] = []
        self.generators = dict(generators)
        self.fresh = FreshGenerators()
        self.mutations = 0
        self.literal_is_checked = False
        self.error: CaptureError | None = None
        self.hooks: list[Any] = []
        self._guarded: set[tuple[fx.Node, int]] = set()
        self.externals = Externals()
        self._small_copies = SmallCopies()
        self._noise_storages: dict[int, int] = {}
        self._lines: dict[int | None, str] = {}
        self.listener = Listener()
        self.uninitialized = Uninitialized()
        self.outside: list[Tensor] = []
        self._earlier = Earlier()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.line.used:
            return func(*args, **(kwargs or {}))
        # Without this each attribute of a tensor read below would go through the watch for reads.
        with WithoutTorchFunction():
            try:
                node = self._earlier.running()
                if node is not None:
                    return self.run_outside(node, func, args, kwargs or {})
                self.listener.enter(func, args, kwargs or {})
                try:
                    return self.handle(func, args, kwargs or {})
                finally:
                    self.listener.leave()
            except CaptureError as error:
                # The program may catch it: keep it, so that the record is refused all the same.
                self.refuse(error)

    def refuse(self, error: CaptureError) -> NoReturn:
        """Raise an error that ends the recording; what ends it inside of `torch.distributed` is the communication."""
        if self.error is None and not isinstance(error, CommunicationError) and is_inside_distributed():
            error = CommunicationError(called("torch.distributed"))
        self.error = self.error or error
        raise error

    def handle(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operator, whatever it is, and write down what it does."""
        raise NotImplementedError

    def run_outside(self, node: Node, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that autograd makes for a node from before the run, and do not write it down."""
        raise NotImplementedError

    def call(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operator and write it down."""
        if self.uninitialized:
            self.uninitialized.check(function, args, kwargs)
        node_args = tuple([self.as_nodes(arg) for arg in args])
        node_kwargs = {key: self.as_nodes(value) for key, value in kwargs.items()} if kwargs else kwargs
        result = function(*args, **kwargs)
        self.uninitialized.note(function, args, result)
        line, number = self._place()
        self.write(function, node_args, node_kwargs, result, line).meta[NUMBER] = number
        return result

    def _place(self) -> tuple[str, int | None]:
        """The user's line behind a call, and autograd's number; of the backward pass, those that it differentiates."""
        if self.backward:
            node = current_node()
            number = number_of(node) if node is not None else None
            return self._lines.get(number, ""), number
        line = user_line(ours=2)
        if not torch.is_grad_enabled():
            return line, None
        # Autograd has made its node for this call just before; a call without one follows that of another.
        number = next_number() - 1
        self._lines.setdefault(number, line)
        return line, number

    def mutate(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `call`, for an operator that writes into an argument.

        Raises:
            SideEffectError: the argument outlives the call, and the write does more than change values. Nothing has
                been written then.
        """
        self.allow_mutation(function, args, kwargs)
        self.mutations += 1
        return self.call(function, args, kwargs)

    def allow_mutation(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep copies of external tensors and of noise that are about to be written over."""
        for tensor in mutated_tensors(function, args, kwargs):
            self.node_of(tensor)
            self.externals.before_write(function, tensor, args, kwargs)
            storage = storage_of(tensor)
            if storage in self._noise_storages:
                index = self._noise_storages.pop(storage)
                self.noise[index] = self.noise[index].clone()

    def move(self, tensor: Tensor, data: Tensor) -> None:
        """From now on `tensor` is what `data` is: a write to one of them is one to the other.

        Raises:
            SideEffectError: the tensor outlives the call, and its memory cannot be exchanged again.
        """
        self.node_of(tensor)
        self.externals.before_move(tensor)
        self.bind(tensor, self.node_of(data))

    def node_of(self, tensor: Tensor) -> fx.Node:
        """The node of `tensor`, made now if the tensor is an external one that was not seen before."""
        node = self.find(tensor)
        return node if node is not None else self._add_external(tensor)

    def _add_external(self, tensor: Tensor) -> fx.Node:
        refuse_unusual(tensor, "a tensor that the program uses")
        if any(one is tensor for one in self.outside):
            raise CaptureError(ENDLESS)
        _, name, role = self.names.get(id(tensor)) or (tensor, self._free.add(f"constant_{len(self.root)}"), "constant")
        node = self.attribute(name, spec_of(tensor), user_line())
        self.root[name] = tensor
        self.roles[node.name] = role
        self.externals.add(External(tensor, node, name, f"{role} {name}"))
        self.bind(tensor, node)
        return node

    def add_input(self, tensor: Tensor, index: int) -> None:
        """Add input number `index`. A tensor that is passed twice is known as the first of its inputs.

        Raises:
            CaptureError: the tensor is a parameter or buffer of the program, or not a plain strided tensor.
        """
        refuse_unusual(tensor, f"input {index}")
        if id(tensor) in self.names:
            raise CaptureError(f"input {index} is the model's own {self.names[id(tensor)][1]}; do not pass it.")
        node = self.placeholder(f"input_{index}", spec_of(tensor), "")
        self.roles[node.name] = "input"
        self.externals.add(External(tensor, node, index, f"input {index}"))
        if self.find(tensor) is None:
            self.bind(tensor, node)

    def add_cotangent(self, tensor: Tensor, number: int) -> None:
        """Add the cotangent number `number` behind the inputs and the draws."""
        node = self.placeholder(f"cotangent_{number}", spec_of(tensor), "")
        self.roles[node.name] = "cotangent"
        self.bind(tensor, node)

    def draw(self, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Draw random numbers that depend on no value of the program; they become an input of the graph."""
        draw = Draw(function, args, kwargs)
        value = draw.sample()
        if not self._continues(draw.generator):
            return self.call(aten.clone.default, (value,), {})  # a constant; what is done to it happens to a copy
        node = self.placeholder(f"noise_{len(self.draws)}", spec_of(value), user_line())
        self.roles[node.name] = "noise"
        kept = self._small_copies.copy(value)
        if kept is None:
            self._noise_storages[storage_of(value)] = len(self.noise)
        self.draws.append(draw)
        self.noise.append(value if kept is None else kept)
        self.bind(value, node)
        return value

    def _continues(self, generator: torch.Generator | None) -> bool:
        """Whether the next run draws on from where a generator is now; one made in the call starts anew."""
        return generator is None or address_of_generator(generator) in self.generators

    def guard(self, tensor: Tensor, expected: bool | int | float | complex) -> None:
        """The program read `expected` from the one-element `tensor`."""
        key = (self.node_of(tensor), self.mutations)
        if key in self._guarded:
            return
        self._guarded.add(key)
        # The tensor may be written over later; the guard is about its value now.
        self.guard_nodes.append(self.node_of(self.call(aten.clone.default, (tensor,), {})))
        self.guards.append(Guard(expected, user_line()))

    def guard_values(self, tensor: Tensor, expected: tuple[bool | int | float | complex, ...]) -> None:
        """The program read all entries of `tensor`, which nothing writes into."""
        self.guard_nodes.append(self.node_of(tensor))
        self.guards.append(Guard(expected, user_line()))
