"""Under `torch.use_deterministic_algorithms`, no decision depends on a clock, which may say anything."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.economy.clock import seconds_now, timed
from fxsolve.economy.files import VARIABLE
from fxsolve.economy.ledger import Ledger
from fxsolve.economy.prices import Prices
from fxsolve.runtime import calls
from fxsolve.runtime.account import Account
from tests.pretending import pretend

B, N = 2, 8


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Clocks that go on by anything from a nanosecond to an hour."""
    drawn, now = random.Random(), [0.0]

    def tick() -> float:
        now[0] += 10 ** drawn.uniform(-9, 3.5)
        return now[0]

    for name in ("thread_time", "perf_counter", "process_time", "monotonic", "time"):
        monkeypatch.setattr(time, name, tick)
    return drawn


def decayed(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N)
    for row in x:
        h = torch.tanh(0.5 * h + row)
    return h


def mapped(x: Tensor) -> Tensor:
    return torch.stack([torch.tanh(torch.sin(row) * 2 + 1) * row for row in x])


def affine(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N)
    for row in x:
        h = 0.9 * h + row
    return h


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(N, N) for _ in range(12))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


PROGRAMS: dict[str, Any] = {"decayed": decayed, "mapped": mapped, "affine": affine, "layers": Layers()}


def decisions(program: Any, grad: bool, calls: int = 6) -> list[tuple[str, str, float | None]]:
    """What runs at each call, and the seconds that decided it."""
    fast, found = fxsolve.compile(program), []
    for _ in range(calls):
        x = torch.randn(40, B, N, requires_grad=grad)
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(fast(x), program(x))
        report = fast.report()
        found.append((str(fast.schedule), report.status, report.emitted_seconds))
    return found


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_clock_that_lies_decides_nothing(lying: random.Random, name: str, grad: bool) -> None:
    found = []
    for seed in range(3):
        lying.seed(seed)
        found.append(decisions(PROGRAMS[name], grad))
    assert found[0] == found[1] == found[2]


def test_what_saves_operations_is_emitted() -> None:
    """Steps that are independent become one sweep: no clock is needed to see that this is less work."""
    assert {status for _, status, _ in decisions(mapped, False)} == {"emitted"}
    assert {schedule for schedule, _, _ in decisions(mapped, False)} == {"gs(jacobi(loop0[0:40]), block1)"}


def test_the_report_says_that_seconds_are_counted() -> None:
    fast = fxsolve.compile(mapped)
    with torch.no_grad():
        fast(torch.randn(40, B, N))
    assert any(note.startswith("seconds are counted from operations") for note in fast.report().notes)


def test_steps_are_bought_at_the_same_call_by_a_clock_that_lies(
    lying: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    bought = []
    prices = Prices(2e-3, graph_seconds=0.0, start_seconds=0.0, saved_op_seconds=1e-4)
    monkeypatch.setattr(calls, "Account", lambda options: Account(options, Ledger(prices)))
    for seed in range(2):
        lying.seed(seed)
        fast, count = fxsolve.compile(decayed), 0
        with torch.no_grad():
            while "fused(" not in str(fast.schedule) and count < 100:
                fast(torch.randn(61, B, N))
                count += 1
        bought.append(count)
    assert bought[0] == bought[1]
    assert 2 < bought[0] < 100


def test_work_is_counted_with_its_size() -> None:
    small, large = torch.randn(4, 4), torch.randn(600, 600)
    assert timed(lambda: small @ small)[1] < timed(lambda: large @ large)[1] / 100
    assert timed(lambda: small @ small)[1] == timed(lambda: small @ small)[1]
    assert timed(lambda: (small + 1) + 1)[1] > 1.9 * timed(lambda: small + 1)[1]
    assert seconds_now() == seconds_now()


def test_what_this_machine_has_paid_before_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = decisions(decayed, False, 2)
    for path in tmp_path.rglob("*.json"):
        assert path.name != "prices.json"
    again = decisions(decayed, False, 2)
    assert found == again
