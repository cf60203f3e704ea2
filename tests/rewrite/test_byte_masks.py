"""Choices by bytes become choices by masks."""

import warnings

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.rewrite.recorded.byte_masks import mask_bytes
from fxsolve.stages import capture

aten = torch.ops.aten
pytestmark = pytest.mark.filterwarnings("ignore:where received a uint8 condition")


def kept(x: Tensor, present: Tensor) -> Tensor:
    """A recurrence that keeps its state where an entry is padding."""
    h, states = torch.zeros(4), []
    for row, mask in zip(x, present, strict=True):
        h = torch.where(mask, torch.tanh(0.9 * h + row), h)
        states.append(h)
    return torch.stack(states)


def example() -> tuple[Tensor, Tensor]:
    return torch.randn(48, 4), torch.randint(0, 3, (48, 4), dtype=torch.uint8)


def test_a_choice_by_bytes_is_one_by_what_is_not_zero() -> None:
    program = capture(kept, *example())
    graph = mask_bytes(program.module.graph)
    choices = graph.find_nodes(op="call_function", target=aten.where.self)
    assert len(choices) == 48
    assert {choice.args[0].target for choice in choices} == {aten.ne.Scalar}
    x, present = example()
    (found,) = torch.fx.GraphModule(program.module, graph)(x, present)
    with warnings.catch_warnings(action="ignore"):
        assert torch.equal(found, kept(x, present))


def test_choices_by_masks_are_as_they_were() -> None:
    x, present = example()
    graph = capture(kept, x, present.bool()).module.graph
    assert mask_bytes(graph) is graph


def test_a_loop_with_choices_by_bytes_is_compiled(caplog: pytest.LogCaptureFixture) -> None:
    x, present = example()
    compiled = fxsolve.compile(kept, schedule="fused(loop0[0:48], unroll=4)", backend="inductor")
    for _ in range(2):
        torch.testing.assert_close(compiled(x, present), kept(x, present), rtol=1e-5, atol=1e-6)
    assert compiled.report().status == "emitted"
    assert not [
        record
        for record in caplog.records
        if record.name.startswith("torch") and record.levelname in ("WARNING", "ERROR")
    ]
