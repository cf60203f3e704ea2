"""Evenly spaced steps as one slice against an index with their numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.steps import slice_steps
from fxsolve.ir.tensor_spec import spec_of

LENGTH = 7


@st.composite
def spaced(draw: st.DrawFn) -> list[int]:
    """Numbers of steps, forwards, backwards or again and again the same."""
    start, distance = draw(st.integers(0, LENGTH - 1)), draw(st.integers(-3, 3))
    count = draw(st.integers(1, LENGTH))
    return [step for step in (start + k * distance for k in range(count)) if 0 <= step < LENGTH]


@given(spaced())
def test_the_entries_are_those_of_the_steps_in_their_order(steps: list[int]) -> None:
    stack = torch.arange(2 * LENGTH).reshape(LENGTH, 2)
    builder = BlockBuilder("entries")
    builder.outputs["y"] = slice_steps(builder, builder.read("x", spec_of(stack)), steps)
    (block,) = builder.build()
    assert torch.equal(block.body(stack)[0], stack[steps])
