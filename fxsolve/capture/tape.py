"""A tape: ATen calls written into a `torch.fx.Graph`, with the Python object of each tensor as its name."""

import operator
import weakref
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload, once_each, schema_of

# In the meta of a call: autograd's number of its node, or of the last one before it; of a backward call, of its own.
NUMBER = "number"


@once_each
def node_name(function: OpOverload) -> str:
    """What the node of a call is called, apart from its number."""
    return schema_of(function).name.split("::")[-1].rstrip("_") or "call"


class Tape:
    """A graph under construction; tensors are known by identity and are not kept alive by it."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.backward = False  # whether the calls are those of the backward pass
        self._known: dict[int, tuple[weakref.ref[Tensor], fx.Node]] = {}
        self._specs: dict[Hashable, TensorSpec] = {}
        self._last_placeholder: fx.Node | None = None
        self._last_attribute: fx.Node | None = None

    def find(self, tensor: Tensor) -> fx.Node | None:
        """The node whose value `tensor` is, or None."""
        entry = self._known.get(id(tensor))
        # An id is reused after its tensor died: the weak reference tells the two apart.
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def holds_scalar(self) -> bool:
        """Whether a tensor of one entry that has a node is alive."""
        alive = (reference() for reference, _ in self._known.values())
        return any(tensor is not None and tensor.numel() == 1 for tensor in alive)

    def node_of(self, tensor: Tensor) -> fx.Node:
        """As `find`, for a tensor that must have a node."""
        raise NotImplementedError

    def bind(self, tensor: Tensor, node: fx.Node) -> None:
        """From now on `tensor` is the value of `node`."""
        self._known[id(tensor)] = (weakref.ref(tensor), node)

    def placeholder(self, name: str, spec: TensorSpec, source: str) -> fx.Node:
        """Add an input after the inputs that are there."""
        self._last_placeholder = self._insert_after(self._last_placeholder, "placeholder", name, spec, source)
        return self._last_placeholder

    def attribute(self, target: str, spec: TensorSpec, source: str, name: str | None = None) -> fx.Node:
        """Add a `get_attr` node after all inputs and the attributes that are there."""
        place = self._last_attribute or self._last_placeholder
        self._last_attribute = self._insert_after(place, "get_attr", target, spec, source, name)
        return self._last_attribute

    def _insert_after(
        self, place: fx.Node | None, op: str, target: str, spec: TensorSpec, source: str, name: str | None = None
    ) -> fx.Node:
        point = self.graph.inserting_before() if place is None else self.graph.inserting_after(place)
        with point:
            node = self.graph.create_node(op, target, name=name)
        node.meta["spec"] = spec
        node.meta["source"] = source
        return node

    def write(
        self,
        function: OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        source: str,
        device: torch.device | None = None,
    ) -> fx.Node:
        """Append the call `result = function(*args, **kwargs)`, its arguments given as nodes."""
        node = self._call(function, args, kwargs, node_name(function))
        node.meta["source"] = source
        if isinstance(result, Tensor):
            node.meta["spec"] = self._spec_of(result, device)
            self.bind(result, node)
        elif isinstance(result, (list, tuple)):
            node.meta["spec"] = tuple(self._write_item(node, i, item, device) for i, item in enumerate(result))
        return node

    def _call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> fx.Node:
        node = self.graph.create_node("call_function", function, args, kwargs, name)
        if self.backward:
            node.meta["backward"] = True
        return node

    def _write_item(self, node: fx.Node, index: int, item: Any, device: torch.device | None) -> TensorSpec | None:
        if not isinstance(item, Tensor):
            return None
        getitem = self._call(operator.getitem, (node, index), {}, "getitem")
        getitem.meta["source"] = node.meta["source"]
        getitem.meta["spec"] = spec = self._spec_of(item, device)
        self.bind(item, getitem)
        return spec

    def _spec_of(self, tensor: Tensor, device: torch.device | None) -> TensorSpec:
        """As `spec_of`, one object for all equal ones: a sixth of the memory of a long graph."""
        form = (tensor.shape, tensor.stride(), tensor.dtype, device or tensor.device)
        spec = self._specs.get(form)
        if spec is None:
            spec = self._specs[form] = spec_of(tensor, device)
        return spec

    def as_nodes(self, value: Any) -> Any:
        """`value`, an argument of an ATen call, with every tensor replaced by its node."""
        if isinstance(value, Tensor):
            return self.node_of(value)
        if isinstance(value, (list, tuple)):
            return [self.as_nodes(item) for item in value]
        return value
