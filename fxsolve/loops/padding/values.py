"""Values of a growing loop in buffers of a fixed size: the valid entries come first, the others may be anything.

A dimension is a product of factors, such as batch times length where rows were flattened. A factor that grows with the
step has n_t valid entries of N in the buffer.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.infer import infer_spec
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.growing.sizes import AffineSize
from fxsolve.loops.padding.known import Attributes, KnownValues
from fxsolve.ops.call import Call

aten = torch.ops.aten

Dim = tuple[int | AffineSize, ...]
Dims = tuple[Dim, ...]


class NoRuleError(Exception):
    """A call has no rule that keeps the padded entries of its arguments apart from the valid ones."""


@dataclass(frozen=True)
class PaddedValue:
    """A node, and the factors of each of its dimensions.

    The entries of a `harmless` value that are not valid are finite numbers, and such that a table has a row for each.
    Where the last two dimensions grow alike, the entries `above` the diagonal may all be 0, or all be low, as -inf is,
    or all be true, which is 1.
    """

    node: fx.Node
    dims: Dims
    harmless: bool = False
    above: float | None = None

    @property
    def grows(self) -> bool:
        return any(isinstance(factor, AffineSize) for dim in self.dims for factor in dim)

    def later(self, steps: int) -> "PaddedValue":
        """The same value as a step sees it that comes `steps` later."""
        return replace(self, dims=tuple(tuple(_later(factor, steps) for factor in dim) for dim in self.dims))


def _later(factor: int | AffineSize, steps: int) -> int | AffineSize:
    return AffineSize(factor.first - steps * factor.slope, factor.slope) if isinstance(factor, AffineSize) else factor


def plain(size: int) -> Dim:
    """The one factor of a size that is the same at every step; none for 1."""
    return () if size == 1 else (size,)


def as_dim(size: AffineSize) -> Dim:
    """The one factor of a size."""
    return (size,) if size.slope else plain(size.first)


def growing_factor(dim: Dim) -> AffineSize | None:
    """The factor of a dimension that grows, None if it is plain. NoRuleError if it is not the only one."""
    sizes = [factor for factor in dim if isinstance(factor, AffineSize)]
    if sizes and len(dim) > 1:
        raise NoRuleError("folds a growing dimension with another one")
    return sizes[0] if sizes else None


@dataclass
class Padder:
    """Writes the calls of a growing loop anew, for buffers; `limits` is the size N for each slope.

    Of `settled` values all steps up to the `last` one have the same entries, as far as they are valid.
    `call` is the call that is written anew, at step `step` and at `position` of its body. Calls that read what is
    filled of a canvas read it in the `copies`.
    """

    graph: fx.Graph
    limits: Mapping[int, int]
    step: int = 0
    position: int = 0
    call: Any = None
    sizes: tuple[tuple[AffineSize, ...] | None, ...] = ()
    made: list[fx.Node] = field(default_factory=list)
    values: dict[fx.Node, tuple[int, PaddedValue]] = field(default_factory=dict)
    copies: dict[fx.Node, fx.Node] = field(default_factory=dict)
    count: int = 0
    last: int = 0
    settled: frozenset[fx.Node] = frozenset()
    attributes: Attributes = field(default_factory=Attributes)
    known: KnownValues = field(init=False)
    hiding: dict[tuple[int, bool], bool] = field(default_factory=dict)
    _specs: dict[Hashable, Any] = field(default_factory=dict)
    _masks: dict[Any, fx.Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = KnownValues(self.graph, self.attributes)

    def start_step(self, step: int) -> None:
        self.step = step
        self._masks.clear()

    def value(self, node: Any) -> PaddedValue:
        """What an argument of the call has become."""
        if node in self.values:
            step, value = self.values[node]
            return value if step == self.step else value.later(self.step - step)
        if node.meta["spec"] is None:
            return PaddedValue(node, (), harmless=True)  # a number, of the loop around
        return PaddedValue(node, tuple(map(plain, node.meta["spec"].shape)), harmless=True)

    def width(self, dim: Dim) -> int:
        """The size of a dimension in the buffer."""
        return prod(self.limits[factor.slope] if isinstance(factor, AffineSize) else factor for factor in dim)

    def valid(self, dim: Dim) -> int:
        """The size of a dimension at this step."""
        return prod(factor.at(self.step) if isinstance(factor, AffineSize) else factor for factor in dim)

    def widths(self, dims: Dims) -> list[int]:
        return [self.width(dim) for dim in dims]

    def result_dims(self) -> Dims:
        """The dimensions of the call's own result, none of them folded."""
        (sizes,) = self.sizes
        assert sizes is not None
        return tuple(map(as_dim, sizes))

    def emit(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A call in front of the one that is written anew."""
        with self.graph.inserting_before(self.call):
            node = self.graph.call_function(target, args, kwargs)
        self.made.append(node)
        # The shapes are those of every step; the first one may need fewer masks.
        key = (self.position, self.count, target, *(one.meta["spec"] for one in node.all_input_nodes))
        self.count += 1
        if key not in self._specs:
            spec = _inferred(node)
            self._specs[key] = _with_types(spec, self.call.meta["spec"]) if target is self.call.target else spec
        node.meta.update({**self.call.meta, "spec": self._specs[key]})
        self.known.note(node)
        return node

    def again(self, call: Call, replaced: Mapping[str, Any]) -> fx.Node:
        """The same call of what its arguments have become, with some of them replaced, by name."""
        given = zip(call.arguments, self.call.args, strict=False)
        args = [replaced.get(name, self.plain(argument)) for name, argument in given]
        later = {name: value for name, value in replaced.items() if name not in list(call.arguments)[: len(args)]}
        kwargs = {name: self.plain(argument) for name, argument in self.call.kwargs.items()}
        return self.emit(call.target, *args, **{**kwargs, **later})

    def plain(self, argument: Any) -> Any:
        """An argument with the nodes in it as they have become."""
        return fx.map_arg(argument, lambda node: self.value(node).node)

    def beyond(self, size: AffineSize, rank: int, dim: int) -> fx.Node:
        """Which entries along a dimension are not valid, as a mask of that rank: index >= n_t."""
        key = (size, rank, dim)
        if key not in self._masks:
            limit = self.limits[size.slope]
            device = self.call_device()
            index = self.emit(aten.arange.default, limit, device=device, pin_memory=False)
            mask = self.emit(aten.ge.Scalar, index, size.at(self.step))
            shape = [limit if k == dim else 1 for k in range(rank)]
            self._masks[key] = self.emit(aten.view.default, mask, shape)
        return self._masks[key]

    def call_device(self) -> torch.device:
        """The device on which the call runs."""
        spec = self.call.meta["spec"]
        return spec.device if hasattr(spec, "device") else next(one.device for one in spec if one is not None)

    def masked(self, value: PaddedValue, dim: int, fill: float | int | bool) -> PaddedValue:
        """The value with `fill` in the entries along `dim` that are not valid; as it is where `dim` does not grow."""
        size = growing_factor(value.dims[dim])
        if size is None:
            return value
        mask = self.beyond(size, len(value.dims), dim)
        return PaddedValue(self.emit(aten.masked_fill.Scalar, value.node, mask, fill), value.dims)

    def masked_everywhere(self, value: PaddedValue, fill: float | int | bool) -> PaddedValue:
        """The value with `fill` in all entries that are not valid."""
        for dim in range(len(value.dims)):
            value = self.masked(value, dim, fill)
        return value


def _inferred(node: fx.Node) -> Any:
    """The spec of a call. NoRuleError if it cannot run on buffers."""
    try:
        return infer_spec(node)
    except PartitionError as error:
        raise NoRuleError(f"cannot take a buffer: {error}") from error


def _with_types(spec: Any, recorded: Any) -> Any:
    """The spec with the recorded types, which are the right ones: some meta kernels are wrong.

    In torch 2.11 that of attention says of the log of the sum of doubles that it is a float.
    """
    if isinstance(spec, TensorSpec):
        return spec._replace(dtype=recorded.dtype)
    return tuple(
        one if one is None or known is None else _with_types(one, known)
        for one, known in zip(spec, recorded, strict=True)
    )
