"""How what stands at places is laid out: (P, d0, d1, ...), in which dimensions with places have size 1."""

from collections.abc import Sequence

from torch import Tensor


def form_at(shape: Sequence[int], dims: Sequence[int]) -> list[int]:
    """The shape of what stands at one place along `dims` of a value of this shape."""
    return [1 if dim in dims else size for dim, size in enumerate(shape)]


def with_ones(value: Tensor, dims: Sequence[int]) -> Tensor:
    """(P, ...) without the dimensions `dims`, which come back with size 1."""
    for dim in sorted(dims):
        value = value.unsqueeze(dim + 1)
    return value


def places_first(value: Tensor, dims: Sequence[int]) -> Tensor:
    """(d0, d1, ...) -> (M, ...), counted through `dims`, which are none of the rest any more."""
    return value.movedim(list(dims), list(range(len(dims)))).flatten(0, len(dims) - 1)


def unfolded(value: Tensor, dims: Sequence[int], shape: Sequence[int]) -> Tensor:
    """(M, ...) with all places first as the value of this shape that it is of, without a copy."""
    others = (size for dim, size in enumerate(shape) if dim not in dims)
    value = value.reshape([*(shape[dim] for dim in dims), *others])
    return value.movedim(list(range(len(dims))), list(dims))


def put_back(value: Tensor, dims: Sequence[int]) -> Tensor:
    """(P, *sizes, d0, d1, ...) -> (P, d0, d1, ...) with the sizes in the place of `dims`, which have size 1."""
    for k, dim in enumerate(dims):
        left = len(dims) - k
        value = value.squeeze(1 + left + dim).movedim(1, left + dim)
    return value


def unwidened(value: Tensor, count: int, shape: Sequence[int], more: Sequence[int], first: bool) -> Tensor:
    """What stands at `count` places and all those along `more`, which count `first` or last, at the `count` alone."""
    sizes = [shape[dim] for dim in more]
    form = (*sizes, count) if first else (count, *sizes)
    value = value.reshape(*form, *value.shape[1:])
    return put_back(value.movedim(len(sizes), 0) if first else value, more)


def unnarrowed(value: Tensor, more: Sequence[int], first: bool) -> Tensor:
    """(P, d0, d1, ...) at the places of each entry along `more` too, which count `first` or last."""
    moved = along(value, more)
    return with_ones((moved.transpose(0, 1) if first else moved).flatten(0, 1), more)


def along(value: Tensor, dims: Sequence[int]) -> Tensor:
    """(P, d0, d1, ...) -> (P, W, ...), W counted through `dims`."""
    moved = value.movedim([dim + 1 for dim in dims], list(range(1, len(dims) + 1)))
    return moved.flatten(1, len(dims))
