"""The mode that writes down what comes out of functionalization, of calls on tensors without values."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.functional.meta import replaces, scattered
from fxsolve.capture.raw_calls import is_detached
from fxsolve.capture.tape import NUMBER, Tape, node_name
from fxsolve.errors import CaptureError
from fxsolve.ir.meta import META, device_of, empty_like_spec, on_meta
from fxsolve.ir.strides import is_dense
from fxsolve.ops.access import Placed
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.dispatch import LightMode
from fxsolve.torch_compat.operators import OpOverload, schema_of
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten
_LIBRARY = torch.library.Library("fxsolve", "FRAGMENT")
_LIBRARY.define("step(Tensor[] tensors) -> Tensor[]")
_LIBRARY.define("look(Tensor[] tensors) -> ()")
STEP = torch.ops.fxsolve.step.default
_LOOK = torch.ops.fxsolve.look.default
WRITE = "write"  # where the meta data of a call has the write that it was, if that left gaps in memory


class Rewriter(LightMode, Tape):
    """Writes the calls that come out of functionalization; `step` is the raw call that is being replayed.

    Where that is written down whole, `form` takes the place of an op that writes. `has_parts` says whether a raw call
    gives several views at once, as `unbind` does.
    """

    def __init__(self, step: fx.Node, has_parts: bool) -> None:
        LightMode.__init__(self)
        Tape.__init__(self)
        self.step = step
        self.form: OpOverload | None = None
        self._has_parts = has_parts
        self._alive: list[Any] = []
        # After a write every old view is made again from its base, and an `unbind` for each of its parts. Those are
        # one: `_views` holds the first of equal views, `_first` its node for the node of each other one.
        self._views: dict[Hashable, Any] = {}
        self._first: dict[fx.Node, fx.Node] = {}
        self._seen: list[fx.Node] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is STEP:
            return self._write_whole(iter(args[0]))
        if func is _LOOK:
            self._seen = [self.node_of(tensor) for tensor in args[0]]
            return None
        if func is aten.copy.default and replaces(*args[:2]):
            return args[1]
        if func is aten.copy_.default:
            # Handing back what was written into a leaf: of inputs and attributes the new value is an output of the
            # graph, and at noise nobody looks afterwards.
            return args[0]
        if self._is_step(func):
            return self._write_step(func, args, kwargs)
        result = scattered(args[0]) if access_of(func) == Placed() else func(*args, **on_meta(kwargs))
        # The program's own views stay, even equal ones: each step of a loop makes its own. So do single ones, which
        # the first step would otherwise make for all.
        is_again = func.is_view and func is not self.step.target and isinstance(result, (list, tuple))
        if is_again and (known := self._views.get(self._view_key(func, args, kwargs))) is not None:
            return self._bind_again(result, known)
        device = next((device_of(self.node_of(arg).meta["spec"]) for arg in args if isinstance(arg, Tensor)), None)
        return self._append(func, args, kwargs, result, device)

    def _bind_again(self, result: Any, known: Any) -> Any:
        """Let new tensors stand for the nodes of the equal ones that are known."""
        self._alive.append(result)
        for new, old in zip(pytree.tree_leaves(result), pytree.tree_leaves(known), strict=True):
            self.bind(new, self.node_of(old))
        return result

    def _view_key(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """Equal for equal views, also of equal views that were made again."""
        base = self.node_of(args[0])
        return function, self._first.get(base, base), repr(args[1:]), repr(kwargs)

    def _note_view(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        known = self._views.setdefault(self._view_key(function, args, kwargs), result)
        if known is not result and isinstance(result, Tensor):
            first = self.node_of(known)
            self._first[self.node_of(result)] = self._first.get(first, first)

    def _write_whole(self, tensors: Iterator[Tensor]) -> list[Tensor]:
        """The raw call as it is; returns its results, without those that are None."""
        spec = self.step.meta["spec"]
        args, kwargs = fx.map_arg((self.step.args, self.step.kwargs), lambda _: next(tensors))  # pyright: ignore
        target: Any = self.form or self.step.target
        result = self._append(target, args, kwargs, empty_like_spec(spec), device_of(spec))
        if self.form is not None and not is_dense(spec):
            self.node_of(result).meta[WRITE] = self.step.target
        return [item for item in pytree.tree_leaves(result) if item is not None]

    def _write_step(self, function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        spec = self.step.meta["spec"]
        step = self.step.target
        if not (isinstance(step, OpOverload) and schema_of(step).is_mutable and is_dense(spec)):
            result = self._append(function, args, kwargs, empty_like_spec(spec), device_of(spec))
            if isinstance(step, OpOverload) and schema_of(step).name.endswith("_"):
                self.node_of(result).meta[WRITE] = step
            return result
        # A write keeps the strides of its target. They decide in which order later sums add up, so they are kept too,
        # except where the target has gaps: then the result is scattered into a larger tensor.
        result = self._append(function, args, kwargs, function(*args, **on_meta(kwargs)), spec.device)
        if result.stride() == spec.stride:
            return result
        like = (result, spec.shape, spec.stride)
        empty = self._append(aten.new_empty_strided.default, like, {}, empty_like_spec(spec), spec.device)
        return self._append(aten.copy.default, (empty, result), {}, empty_like_spec(spec), spec.device)

    def _append(
        self,
        function: OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        device: torch.device | None,
    ) -> Any:
        # Functionalization holds these tensors in C++ only; their identity must outlive that.
        self._alive.append(result)
        node_args = tuple(self.as_nodes(arg) for arg in args)
        node_kwargs = {key: device if value == META else self.as_nodes(value) for key, value in kwargs.items()}
        made = self.write(function, node_args, node_kwargs, result, self.step.meta["source"], device)
        made.meta[NUMBER] = self.step.meta.get(NUMBER)
        if self._has_parts and function.is_view:
            self._note_view(function, args, kwargs, result)
        return result

    def _is_step(self, function: OpOverload) -> bool:
        """Whether `function` is the raw operator of the step, or its form without mutation."""
        target = self.step.target
        name = schema_of(target).name.removesuffix("_") if isinstance(target, OpOverload) else None
        return name == schema_of(function).name and not function.is_view and "spec" in self.step.meta

    def node_of(self, tensor: Tensor) -> fx.Node:
        node = self.find(tensor)
        if node is None:
            raise CaptureError(f"{self.step.meta['source']}: the in-place writes of this program cannot be followed.")
        return node

    def look(self, tensors: list[Tensor]) -> list[fx.Node]:
        """The nodes whose values these tensors have now."""
        _LOOK(tensors)
        return self._seen

    def copy(self, raw: fx.Node, nodes: Mapping[fx.Node, fx.Node]) -> fx.Node:
        """A raw call as it is, of these nodes in the place of its own."""
        name = node_name(raw.target) if isinstance(raw.target, OpOverload) else "getitem"
        args, kwargs = fx.map_arg((raw.args, raw.kwargs), nodes.__getitem__)  # pyright: ignore
        made = self.graph.create_node("call_function", raw.target, args, kwargs, name)
        made.meta.update(raw.meta)
        return made

    def hand_out(self, raw: fx.Node, node: fx.Node) -> fx.Node:
        """The node of an output of the program, which is a tensor of its own where the program detaches it."""
        if not is_detached(raw):
            return node
        self.backward, spec = "backward" in raw.meta, raw.meta["spec"]
        return self.write(aten.detach.default, (node,), {}, empty_like_spec(spec), raw.meta["source"], spec.device)

    def add_leaf(self, leaf: fx.Node) -> fx.Node:
        meta, target = leaf.meta, str(leaf.target)
        if leaf.op == "placeholder":
            return self.placeholder(target, meta["spec"], meta["source"])
        return self.attribute(target, meta["spec"], meta["source"], leaf.name)

    def hold(self, tensor: Tensor, node: fx.Node) -> None:
        """Let a tensor stand for a node for as long as this lives."""
        self._alive.append(tensor)
        self.bind(tensor, node)
