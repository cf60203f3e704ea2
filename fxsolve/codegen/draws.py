"""Make the draws of a program, in its order, where an emitted module reads them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.program import Draw
from fxsolve.capture.record.noise import draw_into_empty
from fxsolve.codegen.values import NoiseInput
from fxsolve.ir.strides import contiguous, is_contiguous
from fxsolve.ir.tensor_spec import TensorSpec

aten = torch.ops.aten


@dataclass(frozen=True)
class FreshNoise:
    """How the noise inputs of a module are made from fresh draws.

    Draws that are stacked, and fill an empty tensor each, fill the rows of the stack at once.
    """

    noise: tuple[NoiseInput, ...]
    draws: tuple[Draw, ...]

    @cached_property
    def stacks(self) -> dict[int, TensorSpec]:
        """The noise inputs whose rows are filled, by number, with the form of a row."""
        specs = {k: _row_of(entry, self.draws) for k, entry in enumerate(self.noise)}
        return {k: spec for k, spec in specs.items() if spec is not None}

    @cached_property
    def calls(self) -> tuple[Callable[[Any], Tensor], ...]:
        """What makes each draw of its row, or of nothing where it has none."""
        stacked = {number for k in self.stacks for number in self.noise[k].draws}
        return tuple(_filling(draw) if k in stacked else _alone(draw) for k, draw in enumerate(self.draws))

    def sample(self) -> list[Tensor]:
        """The noise inputs from fresh draws, in the order of the program."""
        made = {k: _room(len(self.noise[k].draws), spec) for k, spec in self.stacks.items()}
        rows: list[Tensor | None] = [None] * len(self.draws)
        for k, block in made.items():
            for number, row in zip(self.noise[k].draws, block.unbind(0), strict=True):
                rows[number] = row
        drawn = [call(row) for call, row in zip(self.calls, rows, strict=True)]
        return [made[k] if k in made else gather_noise(entry, drawn) for k, entry in enumerate(self.noise)]


def gather_noise(entry: NoiseInput, drawn: Any) -> Tensor:
    """One noise input from the values of all draws."""
    return torch.stack([drawn[number] for number in entry.draws]) if entry.stacked else drawn[entry.draws[0]]


def _room(count: int, spec: TensorSpec) -> Tensor:
    return torch.empty((count, *spec.shape), dtype=spec.dtype, device=spec.device)


def _row_of(entry: NoiseInput, draws: tuple[Draw, ...]) -> TensorSpec | None:
    """The form of each of the draws of an input, if they are stacked, and all fill an empty tensor of it in order."""
    spec = _filled(draws[entry.draws[0]]) if entry.stacked else None
    if spec is None or not is_contiguous(spec) or any(_filled(draws[number]) != spec for number in entry.draws[1:]):
        return None
    return spec


def _filled(draw: Draw) -> TensorSpec | None:
    """The form of the empty tensor that a draw fills, if it does so."""
    if draw.function is draw_into_empty:
        _, spec, _, options = draw.args
        return spec if options.get("dtype") in (None, spec.dtype) else None
    if _fill_of(draw.function) is None or draw.kwargs.get("pin_memory") or len(draw.args) != 1:
        return None
    dtype, device = (
        draw.kwargs.get("dtype") or torch.get_default_dtype(),
        torch.device(draw.kwargs.get("device") or "meta"),
    )
    if not dtype.is_floating_point or device.type != "cpu":
        return None
    return contiguous(TensorSpec((), (), dtype, device), tuple(draw.args[0]))


def _alone(draw: Draw) -> Callable[[Any], Tensor]:
    return lambda _: draw.sample()


def _filling(draw: Draw) -> Callable[[Any], Tensor]:
    """What makes the draw in a row."""
    function, args, options, spec = draw.function, (), draw.kwargs, _filled(draw)
    if function is draw_into_empty:
        function, _, args, options = draw.args
    assert spec is not None
    fill = _fill_of(function) if spec.device.type == "cpu" and spec.dtype.is_floating_point else None
    if fill is not None and not args:
        return partial(fill, generator=options.get("generator"))
    return partial(_fill_with, function, args, options)


def _fill_with(function: Any, args: tuple[Any, ...], options: Mapping[str, Any], row: Tensor) -> Tensor:
    drawn = function(row, *args, **options)
    return row if drawn is row else row.copy_(drawn)


def _fill_of(function: Any) -> Callable[..., Tensor] | None:
    """What a function does with an empty tensor that it makes: in a row, the same numbers without a copy."""
    if function in (aten.randn.default, aten.randn_like.default):
        return Tensor.normal_
    return Tensor.uniform_ if function in (aten.rand.default, aten.rand_like.default) else None
