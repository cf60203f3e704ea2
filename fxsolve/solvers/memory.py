"""How a tensor lies in memory."""

from torch import Tensor


def span_of(tensor: Tensor) -> int:
    """The entries of memory from the first to the last one of a tensor that is not empty, gaps included."""
    return 1 + sum(stride * (size - 1) for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
