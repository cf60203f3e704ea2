"""A system as text: a line for each equation and each read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from fxsolve.ir.spec import (
    AllSteps,
    Block,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
)
from fxsolve.ir.text import index_text, pattern_text, system_text
from tests.ir.samples import systems


def step(h: Tensor, buffer: Tensor, x: Tensor, w: Tensor, bias: Tensor, t: int) -> tuple[Tensor, Tensor]:
    h = torch.tanh(h @ w + x + bias)
    return h, h * t


READS = (
    Lag(0, ("zeros", "h0")),
    Prefix(1, "start", 1, (0, 1, 2, 3)),
    Slices("y", 1, (3, 2, 1, 0)),
    Invariant("w"),
    Stacked(("b0", "b1", "b2", "b3")),
    Table((0, 10, 20, 30)),
)
WRITES = (AllSteps("hs", 0), LastStep("h", 0), FinalBuffer("image", 1))
SYSTEM = System(
    ("x", "w", "zeros", "h0", "start", "b0", "b1", "b2", "b3"),
    (
        Block("encode", fx.symbolic_trace(lambda x: (2 * x,)), ("x",), ("y",)),
        Repeat("cell", fx.symbolic_trace(step), 4, READS, WRITES, "made.py:12"),
        Repeat("map", fx.symbolic_trace(lambda h: (h,)), 4, (Slices("hs", 0, (0, 1, 2, 3)),), (AllSteps("z", 0),)),
    ),
    ("z", "image"),
)


def test_a_system_is_listed_with_one_line_for_each_read() -> None:
    assert system_text(SYSTEM).splitlines() == [
        "inputs: x, w, ..., b3",
        "encode: 1 op, x -> y",
        "cell x 4: 5 ops, made.py:12 -> hs (output 0, all steps), h (output 0, last step), image (buffer start)",
        "  h: lag 2 of output 0, initially zeros, h0",
        "  buffer: buffer start, output 1 written at 0..3 along dim 1",
        "  x: y at 3..0 by -1 along dim 1",
        "  w: w, the same at every step",
        "  bias: one of b0, b1, b2, b3 at each step",
        "  t: the number 0..30 by 10",
        "map x 4: 0 ops -> z (output 0, all steps)",
        "  h: hs at 0..3 along dim 0",
        "outputs: z, image",
    ]


def test_a_pattern_names_what_an_equation_needs_and_the_earlier_steps() -> None:
    assert pattern_text(SYSTEM).splitlines() == [
        "encode",
        "cell x 4 after encode: x_t reads x_(t-2), x_<t",
        "map x 4 after cell: steps are independent",
    ]


@given(systems())
def test_every_equation_and_read_has_its_line(system: System) -> None:
    lines = system_text(system).splitlines()
    reads = sum(len(repeat.reads) for repeat in system.repeats)
    assert len(lines) == 2 + len(system.equations) + reads
    assert len(pattern_text(system).splitlines()) == len(system.equations)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ((), ""),
        ((5,), "5"),
        ((4, 4, 4), "4 (3 times)"),
        (tuple(range(784)), "0..783"),
        (tuple(range(62, -1, -2)), "62..0 by -2"),
        ((0, 1, 2, 7, 8, 9), "0..2, 7..9"),
        ((0.5, 1.0, 1.5), "0.5..1.5 by 0.5"),
        (
            tuple(k * k for k in range(20)),
            "0..1, 4..9 by 5, 16..25 by 9, 36..49 by 13, 64..81 by 17, 100..121 by 21, ... (20 in all)",
        ),
    ],
)
def test_numbers_are_written_as_ranges(index: tuple[int | float, ...], text: str) -> None:
    assert index_text(index) == text


@given(st.lists(st.integers(-9, 9), max_size=8))
def test_ranges_can_be_read_back(index: list[int]) -> None:
    text = index_text(tuple(index))
    if "..." not in text:
        assert [number for part in filter(None, text.split(", ")) for number in numbers_of(part)] == index


def numbers_of(part: str) -> list[int]:
    if "times" in part:
        value, count = part.removesuffix(" times)").split(" (")
        return [int(value)] * int(count)
    if ".." not in part:
        return [int(part)]
    limits, _, step = part.partition(" by ")
    first, last = map(int, limits.split(".."))
    increment = int(step or 1)
    return list(range(first, last + (1 if increment > 0 else -1), increment))
