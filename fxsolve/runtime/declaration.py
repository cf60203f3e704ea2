"""Which sizes of the arguments may change: `dynamic_shapes` in the form of torch.export."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor
from torch.export import Dim

from fxsolve.errors import InputError
from fxsolve.torch_compat.trees import pytree

# The types of torch.export.Dim.AUTO, and of 2 * Dim("n"), have no public names.
_Hint = type(Dim.AUTO)


@cache
def _derived() -> type:
    """Found late: making a `Dim` imports sympy."""
    return type(Dim("n") + 1)


@dataclass(frozen=True)
class Size:
    """A size that may change: factor * n + offset, with the n of all sizes of this name between `low` and `high`."""

    name: str
    low: int = 0
    high: int | None = None
    factor: int = 1
    offset: int = 0

    def at(self, length: int) -> int:
        return self.factor * length + self.offset

    def length(self, size: int, where: str) -> int:
        """The n behind a size. InputError if there is none within the bounds."""
        length, rest = divmod(size - self.offset, self.factor)
        bounds = f"from {self.low}" + ("" if self.high is None else f" to {self.high}")
        if rest:
            raise InputError(f"dynamic_shapes: {where} is {size}, not {self.factor} * {self.name} + {self.offset}")
        if length < self.low or (self.high is not None and length > self.high):
            raise InputError(f"dynamic_shapes: {where} is {size}; {self.name or 'it'} was declared {bounds}")
        return length


Shapes = Any  # None, a Size, or a dict, list or tuple of these


def read_shapes(shapes: Any) -> Shapes:
    """A declaration without objects of torch. InputError if it is none."""
    if shapes is not None and not isinstance(shapes, (dict, list, tuple)):
        raise InputError(
            f"dynamic_shapes is a {type(shapes).__name__}; it must be a dict by argument names, or a tuple in the "
            "order of the arguments, as for torch.export"
        )
    return _read(shapes)


def _read(part: Any) -> Shapes:
    if isinstance(part, Mapping):
        return {key: _read(item) for key, item in part.items()}
    if isinstance(part, (list, tuple)):
        return tuple(map(_read, part))
    if part is None or type(part) is int:
        return None
    if isinstance(part, str):
        return Size(part)
    if isinstance(part, _derived()):
        root: Any = part
        offset = root.fn(0)
        low, high = _bounds(root.root.min, root.root.max)
        return Size(root.root.__name__, low, high, root.fn(1) - offset, offset)
    if isinstance(part, Dim):
        return Size(part.__name__, *_bounds(part.min, part.max))
    if isinstance(part, _Hint):
        return None if part.type is Dim.STATIC.type else Size("", *_bounds(part.min, part.max))  # pyright: ignore
    raise InputError(f"dynamic_shapes holds a {type(part).__name__}; sizes are torch.export.Dim, a name, or None")


def _bounds(low: Any, high: Any) -> tuple[int, int | None]:
    """A bound of a Dim may be the infinity of sympy."""
    return int(low or 0), high if isinstance(high, int) else None


Use = Callable[[Any, Mapping[int | None, Size], str], Any]


def map_declared(shapes: Shapes, names: list[str], values: list[Any], use: Use) -> list[Any]:
    """`values`, the arguments of a call, with `use(leaf, sizes, where)` in place of each leaf with declared sizes.

    `sizes` maps dimensions of a tensor to their `Size`, and None to that of an integer. InputError if the declaration
    does not fit the arguments.
    """
    if isinstance(shapes, dict):
        unknown = [key for key in shapes if key not in names]
        if unknown:
            raise InputError(f"dynamic_shapes names {unknown[0]!r}; the arguments of this call are {', '.join(names)}")
        return [_map(shapes.get(name), value, name, use) for name, value in zip(names, values, strict=True)]
    if len(shapes) != len(values):
        raise InputError(f"dynamic_shapes has {len(shapes)} entries, and this call {len(values)} arguments")
    return [_map(part, value, name, use) for part, name, value in zip(shapes, names, values, strict=True)]


def _map(shapes: Shapes, value: Any, where: str, use: Use) -> Any:
    if shapes is None:
        return value
    if isinstance(value, Tensor):
        return use(value, _sizes_of_tensor(shapes, value, where), where)
    if type(value) is int and isinstance(shapes, Size):
        return use(value, {None: shapes}, where)
    children, spec = pytree.tree_flatten(value, is_leaf=lambda part: part is not value)
    if spec.is_leaf() or isinstance(shapes, Size):
        raise InputError(f"dynamic_shapes: {where} is a {type(value).__name__}, which has no sizes")
    keys = list(value) if isinstance(value, dict) else range(len(children))
    keys = list(spec.context) if isinstance(value, dict) else keys
    parts = [shapes.get(key) for key in keys] if isinstance(shapes, dict) and isinstance(value, dict) else shapes
    if isinstance(parts, dict) or len(parts) != len(children):
        raise InputError(f"dynamic_shapes: {where} holds {len(children)} values, and {len(parts)} are declared")
    made = [_map(part, child, f"{where}[{key!r}]", use) for part, child, key in zip(parts, children, keys, strict=True)]
    return pytree.tree_unflatten(made, spec)


def _sizes_of_tensor(shapes: Shapes, tensor: Tensor, where: str) -> dict[int | None, Size]:
    if isinstance(shapes, tuple):
        if len(shapes) != tensor.dim():
            raise InputError(f"dynamic_shapes: {where} has {tensor.dim()} dimensions, and {len(shapes)} are declared")
        shapes = dict(enumerate(shapes))
    if not isinstance(shapes, dict):
        raise InputError(f"dynamic_shapes: {where} is a tensor; declare a dict of its dimensions")
    wrong = [dim for dim in shapes if type(dim) is not int or not -tensor.dim() <= dim < tensor.dim()]
    if wrong:
        raise InputError(f"dynamic_shapes: {where} has {tensor.dim()} dimensions, none of them is {wrong[0]!r}")
    return {dim % tensor.dim(): size for dim, size in shapes.items() if isinstance(size, Size)}
