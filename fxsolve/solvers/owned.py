"""Tensors that a model owns, where a loop reads another one at each step."""

from collections.abc import Iterable

from torch import Tensor, nn


class Owned(nn.Module):
    """Gives the tensors in order, as they are at the call: all of them are parameters, or none is."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        for number, tensor in enumerate(tensors):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(str(number), tensor)
            else:
                self.register_buffer(str(number), tensor)

    def forward(self) -> tuple[Tensor, ...]:
        return (*self._parameters.values(), *self._buffers.values())  # pyright: ignore[reportReturnType]
