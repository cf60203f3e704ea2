"""Make the draws of a program, in its order, where an emitted module reads them."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.program import Draw
from fxsolve.capture.record.noise import draw_into_empty
from fxsolve.codegen.values import NoiseInput


def sample_noise(noise: tuple[NoiseInput, ...], draws: tuple[Draw, ...]) -> list[Tensor]:
    """The noise inputs of a module from fresh draws.

    Draws that are stacked, and fill an empty tensor each, fill the rows of the stack at once.
    """
    blocks = {k: block for k, entry in enumerate(noise) if (block := _empty_stack(entry, draws)) is not None}
    rows = {number: row for k, block in blocks.items() for number, row in zip(noise[k].draws, block, strict=True)}
    drawn = [_draw(draw, rows.get(number)) for number, draw in enumerate(draws)]
    return [blocks[k] if k in blocks else gather_noise(entry, drawn) for k, entry in enumerate(noise)]


def gather_noise(entry: NoiseInput, drawn: Any) -> Tensor:
    """One noise input from the values of all draws."""
    return torch.stack([drawn[number] for number in entry.draws]) if entry.stacked else drawn[entry.draws[0]]


def _empty_stack(entry: NoiseInput, draws: tuple[Draw, ...]) -> Tensor | None:
    """Room for a stack of equal contiguous draws that fill empty tensors; None for any others."""
    members = [draws[number] for number in entry.draws]
    if not entry.stacked or any(draw.function is not draw_into_empty for draw in members):
        return None
    spec = members[0].args[1]
    empty = torch.empty((len(members), *spec.shape), dtype=spec.dtype, device=spec.device)
    alike = all(draw.args[1] == spec for draw in members) and empty.stride()[1:] == spec.stride
    return empty if alike else None


def _draw(draw: Draw, row: Tensor | None) -> Tensor:
    if row is None:
        return draw.sample()
    function, _, args, options = draw.args
    drawn = function(row, *args, **options)
    return row if drawn is row else row.copy_(drawn)
