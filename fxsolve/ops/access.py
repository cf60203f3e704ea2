"""The forms in which the entries of a result read those of the arguments: the dimension maps of ATen ops.

Arguments are called by their names in the schema of the op. `Opaque` holds of every op.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Opaque:
    """Every entry reads every entry of every argument; the entries of the first `apart` dimensions stay apart.

    The latter holds where the first argument alone is labelled.
    """

    apart: int = 0


@dataclass(frozen=True)
class SamePlace:
    """y[i] reads the entries at i of all arguments, which are broadcast."""


@dataclass(frozen=True)
class Chosen:
    """y[i] is the entry at i of one of the arguments in `names`, as another argument says."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class SameEntries:
    """y = x, in another type or layout at most."""


@dataclass(frozen=True)
class ConstantFill:
    """y is a constant; of the first argument only the form is read."""


@dataclass(frozen=True)
class Made:
    """y is made of numbers alone, and has the shape `size`."""


@dataclass(frozen=True)
class Unwritten:
    """y may hold anything; of the first argument only the form is read."""


@dataclass(frozen=True)
class Rearranged:
    """y holds entries of the first argument at other places, and the constant in `fill` elsewhere."""

    fill: str = ""


@dataclass(frozen=True)
class Spread:
    """y holds the entries of the first argument at some places, and 0 elsewhere."""


@dataclass(frozen=True)
class Permuted:
    """y is x with its dimensions in another order."""


@dataclass(frozen=True)
class Reshaped:
    """y holds the entries of x in the same order, under another shape."""


@dataclass(frozen=True)
class Expanded:
    """y is x, repeated along dimensions of size one, or along new ones in front."""


@dataclass(frozen=True)
class Cut:
    """y is an entry of x along the dimension in `dim`, or a range of them."""


@dataclass(frozen=True)
class Parts:
    """All y together are x, cut along the dimension in `dim`."""


@dataclass(frozen=True)
class Triangle:
    """y[..., i, j] is x[..., i, j] or 0, as i and j say."""


@dataclass(frozen=True)
class Joined:
    """y holds the entries of a list of tensors."""


@dataclass(frozen=True)
class RealParts:
    """y[..., 0] and y[..., 1] are the real and the imaginary part of x[...]."""


@dataclass(frozen=True)
class FromParts:
    """y[...] is made of x[..., 0] and x[..., 1]."""


@dataclass(frozen=True)
class Reduced:
    """y[i] reads x[i, :]: all entries along the dimensions in `dim`, along all dimensions where that is None."""

    dim: str = "dim"


@dataclass(frozen=True)
class Softmax:
    """As `Reduced`, by sums of exponentials: what is masked by a large negative number takes no part."""

    dim: str = "dim"


@dataclass(frozen=True)
class Cumulative:
    """y[..., t] reads x[..., :t + 1] along the dimension in `dim`."""

    dim: str = "dim"


@dataclass(frozen=True)
class LayerNorm:
    """y reads all entries along the last dimensions, as many as `normalized_shape` has."""


@dataclass(frozen=True)
class GroupNorm:
    """y reads all entries of its own sample and group of channels."""


@dataclass(frozen=True)
class BatchNorm:
    """y[n, c, ...] reads all entries of channel c in training, and those at its own place otherwise."""


@dataclass(frozen=True)
class Convolution:
    """y[n, o, i] reads a patch of x[n, :, :] through the entries of weight[o] that are not zero."""


@dataclass(frozen=True)
class Pool:
    """y[n, c, i] reads a window of x[n, c]."""

    sides: int


@dataclass(frozen=True)
class Product:
    """y[..., i, j] reads left[..., i, k] and right[..., k, j] for all k where neither is zero, and `added`[i, j].

    Vectors have no i, or no j.
    """

    left: str
    right: str
    added: str = ""


@dataclass(frozen=True)
class Attention:
    """y[..., i, :] reads query[..., i, :], and key[..., j, :] and value[..., j, :] for all j that the mask admits."""


@dataclass(frozen=True)
class AttentionLayer:
    """y[n, i, :] reads x[n, i, :], and x[n, j, :] for all j that the mask admits, x being all three of attention."""


@dataclass(frozen=True)
class Recurrence:
    """y[t, n, :] reads x[: t + 1, n, :], backwards in time where `reverse` says so, and the states of sample n."""


@dataclass(frozen=True)
class LookUp:
    """y[*i, :] reads weight[indices[i], :]."""


@dataclass(frozen=True)
class Selected:
    """y reads x along the dimension in `dim` at the places in `index`."""


@dataclass(frozen=True)
class Gathered:
    """y[i] reads x at i with index[i] in place of i[dim]."""


@dataclass(frozen=True)
class Indexed:
    """y = x[indices], as Python indexes by tensors."""


@dataclass(frozen=True)
class Placed:
    """y is x with a part replaced by `source`; where the part is, is told by numbers."""

    source: str = "src"


@dataclass(frozen=True)
class Copied:
    """y is x with slices along the dimension in `dim`, at the places in `index`, replaced by those of `source`."""

    source: str


@dataclass(frozen=True)
class SlicesAdded:
    """y is x with slices along the dimension in `dim`, at the places in `index`, added from `source`."""


@dataclass(frozen=True)
class Scattered:
    """y is x with entries along the dimension in `dim`, at the places in `index`, replaced by `src` or `value`."""


@dataclass(frozen=True)
class Put:
    """y = x with x[indices] = values."""


Access = (
    Opaque | SamePlace | Chosen | SameEntries | ConstantFill | Made | Unwritten | Rearranged | Spread | Permuted
    | Reshaped | Expanded | Cut | Parts | Triangle | Joined | Reduced | Softmax | Cumulative | LayerNorm | GroupNorm
    | BatchNorm | Convolution | Pool | Product | Attention | AttentionLayer | Recurrence | LookUp | Selected
    | Gathered | Indexed | Placed | Copied | SlicesAdded | Scattered | Put | RealParts | FromParts
)  # fmt: skip
