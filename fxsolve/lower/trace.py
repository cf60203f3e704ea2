"""Write down the ATen calls of a function of tensors, and find those among them that cannot be batched.

Everything here is a mode of this thread: `make_fx` would replace methods of `nn.Module`, and vmap's own refusal of what
it would run step by step is a switch, both for all threads.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.tape import Tape
from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.attention import is_folded
from fxsolve.torch_compat.dispatch import LightMode
from fxsolve.torch_compat.graphs import lazy_module
from fxsolve.torch_compat.operators import has_batching_rule
from fxsolve.torch_compat.trees import pytree


class _CallWriter(LightMode, Tape):
    """Runs every call, on tensors without values, and appends it to a graph; `meta["val"]` has what it returns."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        LightMode.__init__(self)
        Tape.__init__(self)
        self.source = ""
        self._alive: list[Any] = []  # the identity of a tensor is that of its Python object
        for number, tensor in enumerate(inputs):
            node = self.placeholder(f"arg{number}_1", spec_of(tensor), "")
            self._keep(tensor, node)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _tensors(result):
            return result  # the device of a tensor without values, which is asked for at every call
        if func is torch.ops.aten.detach.default:
            self._keep(result, self.node_of(args[0]))  # nothing of a sweep is differentiated
            return result
        named = {key: self.as_nodes(one) for key, one in (kwargs or {}).items()}
        node = self.write(func, tuple(map(self.as_nodes, args)), named, result, self.source)
        self._keep(result, node)
        for item in result if isinstance(result, (list, tuple)) else ():
            if isinstance(item, Tensor):
                self._keep(item, self.node_of(item))
        return result

    def node_of(self, tensor: Tensor) -> fx.Node:
        node = self.find(tensor)
        if node is None:
            raise PartitionError("a step reads a tensor that none of its calls makes")
        return node

    def _keep(self, value: Any, node: fx.Node) -> None:
        node.meta["val"] = value
        self._alive.append(value)
        if isinstance(value, Tensor):
            self.bind(value, node)


class _Sourced(fx.Interpreter):
    """Runs a graph, and tells the writer of its calls which line of the user's code each belongs to."""

    def __init__(self, module: fx.GraphModule, writer: _CallWriter) -> None:
        super().__init__(module)
        self._writer = writer

    def run_node(self, n: fx.Node) -> Any:
        inner = n.target.repeat.source if isinstance(n.target, Nested) else ""
        self._writer.source = n.meta.get("source") or inner
        return super().run_node(n)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """`function(*inputs)` as a graph of ATen calls; it returns a tuple of tensors that its calls make.

    The calls of a graph keep its lines of the user's code.
    """
    writer = _CallWriter(inputs)
    run = _Sourced(function, writer).run if isinstance(function, fx.GraphModule) else function
    with writer:
        outputs = run(*inputs)
    writer.graph.output(tuple(map(writer.node_of, outputs)))
    return lazy_module(writer.graph, "traced")


class _Rules(LightMode):
    """Refuses calls without a batching rule on what depends on the `batched` tensors."""

    def __init__(self, batched: Iterable[Tensor], shared: Iterable[Tensor]) -> None:
        super().__init__()
        self._alive = [*batched]
        self._batched = {id(tensor) for tensor in self._alive}
        self._shared = {id(tensor): tensor for tensor in shared}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made, given = _tensors(result), _tensors((args, kwargs))
        is_batched = any(id(tensor) in self._batched or id(tensor) not in self._shared for tensor in given)
        if made and is_batched and not (has_batching_rule(func) or is_folded(func)):
            raise PartitionError(f"{func} has no batching rule")
        self._alive += made
        if is_batched:
            self._batched.update(map(id, made))
        else:
            self._shared.update((id(tensor), tensor) for tensor in made)
        return result


def check_rules(function: Callable[..., Any], inputs: Sequence[Tensor], is_shared: Sequence[bool]) -> None:
    """Raise `PartitionError` if a call of `function` has no batching rule: vmap would run it step by step.

    `inputs` are those of one step; where all of its arguments depend on shared ones alone, a call runs once anyway.
    """
    pairs = list(zip(inputs, is_shared, strict=True))
    with _Rules((one for one, shared in pairs if not shared), (one for one, shared in pairs if shared)):
        function(*inputs)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
