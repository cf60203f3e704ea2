"""Writes that change nothing the second time: made once, and only where that is so for all parameters."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import recorded_attribute
from fxsolve.ir.evaluate import evaluate
from fxsolve.loops.partition import partition
from fxsolve.rewrite.recorded.repeated import settle_writes
from fxsolve.stages import capture
from tests.loops.programs import given_values

aten = torch.ops.aten
N, STEPS = 6, 5


class Layer(nn.Module):
    mask: Tensor
    halves: Tensor
    index: Tensor

    def __init__(self, write: Callable[["Layer", Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(N, N, generator=generator).to(dtype))
        self.register_buffer("mask", torch.ones(N, N, dtype=dtype).tril())
        self.register_buffer("halves", torch.full((N, N), 0.5, dtype=dtype))
        self.register_buffer("index", torch.tensor([0, 2]))
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(STEPS):
            self.weight.data.copy_(self.write(self, self.weight.data))
            x = torch.tanh(x @ self.weight)
        return x


# What is written, and which attributes that rests on; none where it is so for every value of theirs.
SETTLED: dict[str, tuple[Callable[[Layer, Tensor], Tensor], tuple[str, ...]]] = {
    "mask": (lambda layer, w: w * layer.mask, ("mask",)),
    "mask first": (lambda layer, w: layer.mask * w, ("mask",)),
    "bool": (lambda layer, w: w * (layer.mask > 0), ("mask",)),
    "masked_fill": (lambda layer, w: w.masked_fill(layer.mask == 0, 2.0), ("mask",)),
    "where": (lambda layer, w: torch.where(layer.mask > 0, w, layer.halves), ("halves", "mask")),
    "rows": (lambda layer, w: w.index_fill(0, layer.index, 0.0), ("index",)),
    "index_put": (
        lambda layer, w: w.index_put((layer.index, layer.index), torch.tensor(0.0, dtype=w.dtype)),
        ("index",),
    ),
    "tril": (lambda _, w: w.tril(), ()),
    "relu": (lambda _, w: w.relu(), ()),
    "clamp": (lambda _, w: w.clamp(-0.5, 0.5), ()),
    "maximum": (lambda layer, w: torch.maximum(w, layer.halves), ()),
}
CHANGING: dict[str, Callable[[Layer, Tensor], Tensor]] = {
    "half": lambda layer, w: w * layer.halves,
    "flip": lambda _, w: w.flip(1),
    "other bounds": lambda _, w: (w * 0.9).clamp(-0.5, 0.5),
    "negative zero": lambda layer, w: w * -(layer.mask - layer.mask),
    "accumulate": lambda layer, w: w.index_put((layer.index,), layer.halves[:2], accumulate=True),
    "tanh": lambda _, w: w.tanh(),
    "condition": lambda layer, w: torch.where(w.abs() > 0.5, w * layer.halves, w),
}


def assert_is_the_program(layer: Layer, x: Tensor) -> None:
    program = capture(layer, x)
    attributes = program.module.graph.find_nodes(op="get_attr")
    before = {node.name: recorded_attribute(program, str(node.target)) for node in attributes}
    outputs = evaluate(partition(program).system, given_values(program) | before)
    assert all(map(same_bits, outputs, program.example.outputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", SETTLED)
def test_a_write_that_settles_is_made_once(name: str, dtype: torch.dtype) -> None:
    write, rested = SETTLED[name]
    x = torch.randn(2, N).to(dtype)
    with torch.no_grad():
        program = capture(Layer(write, dtype), x)
        settled = settle_writes(program.module.graph, program)
        assert set(settled.rested) == set(rested)
        assert len(settled.notes) == 1
        assert "test_repeated.py" in settled.notes[0]
        weights = {node.args[1] for node in settled.graph.find_nodes(op="call_function", target=aten.mm.default)}
        assert len(weights) == 1
        assert_is_the_program(Layer(write, dtype), x)


@pytest.mark.parametrize("name", CHANGING)
def test_a_write_that_does_not_settle_is_made_at_each_step(name: str) -> None:
    x = torch.randn(2, N)
    with torch.no_grad():
        program = capture(Layer(CHANGING[name], torch.float32), x)
        assert settle_writes(program.module.graph, program).graph is program.module.graph
        assert_is_the_program(Layer(CHANGING[name], torch.float32), x)


def test_a_mask_that_the_program_writes_into_is_not_known() -> None:
    class Growing(Layer):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            self.mask.copy_(self.halves)
            return x

    with torch.no_grad():
        program = capture(Growing(lambda layer, w: w * layer.mask, torch.float32), torch.randn(2, N))
        assert settle_writes(program.module.graph, program).graph is program.module.graph
