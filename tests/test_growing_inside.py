"""Loops that grow inside the steps of other loops are found as those of a program are, and told in the same notes."""

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.text import pattern_text
from fxsolve.solvers.solution import observe
from fxsolve.stages import capture, partition

N, STEPS, LAYERS = 4, 9, 3
Weights = tuple[Tensor, ...]


def attend(x: Tensor, w: Tensor) -> Tensor:
    """Each step looks at all keys so far, and adds one."""
    keys, found = x[:1], []
    for x_t in x:
        query = x_t @ w
        keys = torch.cat([keys, torch.tanh(query)[None]])
        found.append(torch.softmax(keys @ query, 0) @ keys)
    return torch.stack(found)


def layers(x: Tensor, w: Tensor) -> Tensor:
    for _ in range(LAYERS):
        x = attend(x, w) + x
        x = x / (1 + x.abs().max())
    return x


def sequences(x: Tensor, w: Tensor) -> Tensor:
    return torch.stack([attend(x * (1.0 + k), w).sum(0) for k in range(LAYERS)])


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(size, N, dtype=torch.float64, generator=generator) / 2 for size in (STEPS, N))  # pyright: ignore


@pytest.mark.parametrize("program", [layers, sequences])
def test_they_are_rolled_with_a_note(program) -> None:
    with torch.no_grad():
        parts = partition(capture(program, *inputs()))
    assert f"  loop0_loop0 x {STEPS}: x_t reads x_(t-1)" in pattern_text(parts.system).splitlines()
    (note,) = parts.notes
    assert note.startswith(f"{STEPS} steps at")
    assert "they work on buffers, and sums may round differently" in note


@pytest.mark.parametrize("text", ["gs", "jacobi", "auto"])
@pytest.mark.parametrize("program", [layers, sequences])
def test_every_schedule_gives_the_values_of_the_program(program, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxsolve.runtime.compilation.Compilation._race", lambda *_: "")
    fast = fxsolve.compile(program, schedule=text, backend="eager")
    with torch.no_grad():
        for seed in range(3):
            torch.testing.assert_close(fast(*inputs(seed)), program(*inputs(seed)), rtol=1e-11, atol=1e-11)
        with observe() as seen:
            fast(*inputs(9))
    assert fast.report().status == "emitted", fast.report().reason
    ran = [one.name for one in seen]
    assert ran.count("loop0") == 1
    assert ran.count("loop0_loop0") in (0, LAYERS) if text != "gs" else ran.count("loop0_loop0") == LAYERS
    assert any("they work on buffers" in note for note in fast.report().notes)


class Clockwork(nn.Module):
    """How many units move depends on the step, and repeats: a loop of loops whose shapes are numbers of the outer."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(3, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 8)
        for t in range(x.shape[0]):
            new = torch.tanh(self.x(x[t]) + self.h(h))
            moving = sum(2 for k in range(4) if t % 2**k == 0)
            h = torch.cat([new[:, :moving], h[:, moving:]], 1)
        return h


def test_numbers_of_a_loop_around_have_no_shape() -> None:
    torch.manual_seed(0)
    model, x = Clockwork(), torch.randn(64, 2, 3)
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    with torch.no_grad():
        assert torch.equal(fast(x), model(x))
    assert [loop.length for loop in fast.report().loops if loop.name == "loop0"] == [8]
