"""What was decided once on a machine is not decided again there; what a file says cannot make a result wrong."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.economy.files import VARIABLE
from fxsolve.runtime import contest, judging, making, memory
from fxsolve.runtime.trial import CallSeconds

T, B, N = 24, 2, 3


def cell(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N)
    for row in x:
        h = torch.tanh(0.5 * h + row)
    return h


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decisions."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "decisions"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The schedules that were asked for; "auto" ones are measured."""
    texts: list[str] = []
    real = making.schedule

    def schedule(captured: Any, parts: Any, text: str, *settings: Any) -> Any:
        texts.append(text)
        return real(captured, parts, text, *settings)

    monkeypatch.setattr(making, "schedule", schedule)
    return texts


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One item for each race; the emitted form wins, until the list says other seconds of it."""
    races: list[float] = []

    def race(*_: Any) -> CallSeconds:
        races.append(0.1)
        return CallSeconds(1.0, races[-1])

    monkeypatch.setattr(judging, "race", race)
    return races


def used(x: Tensor, calls: int = 2, **options: Any) -> Any:
    """A program that is compiled as if by a process of its own."""
    fast = fxsolve.compile(cell, backend="eager", **options)
    for _ in range(calls):
        torch.testing.assert_close(fast(x), cell(x))
    return fast


def the_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


@torch.no_grad()
def test_what_was_decided_is_taken_without_measuring(kept: Path, asked: list[str], raced: list[float]) -> None:
    x = torch.randn(T, B, N)
    first = used(x)
    assert asked == ["auto"]
    second = used(x)
    assert asked == ["auto", str(first.schedule)]
    assert len(raced) == 1
    assert second.schedule == first.schedule
    assert second.report().emitted_seconds == first.report().emitted_seconds
    assert "decided by an earlier compilation on this machine" in second.report().notes
    assert second.report().loops[0].chosen.reason == "decided by an earlier compilation on this machine"


@torch.no_grad()
def test_what_was_left_alone_is_left_alone_without_measuring(
    kept: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "race", lambda *_: CallSeconds(1.0, 2.0))
    x = torch.randn(T, B, N)
    first, second = used(x), used(x)
    assert asked == ["auto"]
    assert first.report().reason == second.report().reason
    assert second.report().reason.startswith("sequential is best here")


@pytest.mark.parametrize(
    "change", [{"tolerance": 1e-3}, {"mode": "max-autotune"}, "gradients", "length", "modes", "threads"]
)
def test_what_a_decision_depends_on_is_decided_apart(
    kept: Path, asked: list[str], raced: list[float], change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(T, B, N)
    with torch.no_grad():
        used(x)
    if change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    torch.use_deterministic_algorithms(change == "modes")
    try:
        with torch.set_grad_enabled(change == "gradients"):
            given = x.clone().requires_grad_(change == "gradients")
            fxsolve.compile(cell, backend="eager", **(change if isinstance(change, dict) else {}))(
                given[:-1] if change == "length" else given
            )
    finally:
        torch.use_deterministic_algorithms(False)
    assert asked == ["auto", "auto"]


@torch.no_grad()
def test_a_contest_goes_on_in_the_next_process_until_calls_have_decided(
    kept: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "race", lambda *_: CallSeconds(1.0, 1.0))
    monkeypatch.setattr(contest.Contest, "is_emitted_faster", False)
    x = torch.randn(T, B, N)
    used(x)
    second = used(x, 2 * contest.MOST + 2)
    assert asked[:1] == ["auto"]
    assert second.report().reason.startswith("sequential is best here: in these calls")
    third = used(x)
    assert third.report().reason == second.report().reason
    assert len(asked) == 2


@torch.no_grad()
def test_what_was_wrong_is_forgotten(kept: Path, asked: list[str], raced: list[float]) -> None:
    factor = [0.5]

    def program(x: Tensor) -> Tensor:
        h = x.new_zeros(B, N)
        for row in x:
            h = torch.tanh(factor[0] * h + row)
        return h

    x = torch.randn(T, B, N)
    fast = fxsolve.compile(program, backend="eager", verify="always", schedule="auto")
    fast(x)
    assert len(list(kept.iterdir())) == 1
    fast._runtime.latest.entry.ready.emitted.module.forward = lambda *_: (torch.zeros(B, N),)
    torch.testing.assert_close(fast(x), program(x))
    assert fast.report().status == "left alone"
    assert not list(kept.iterdir())


def changed(path: Path, **values: Any) -> None:
    data = json.loads(path.read_text())
    measured = {**data["measured"], **{name: value for name, value in values.items() if name in data["measured"]}}
    path.write_text(json.dumps({**data, **values, "measured": measured}))


BAD: dict[str, Any] = {
    "no format": {"format": "other"},
    "control characters": {"schedule": "gs\x1b[2J"},
    "a loose tolerance": {"tolerance": 1e9},
    "a loose test": {"schedule": "gs(jacobi(loop0, atol=100, rtol=100))"},
    "no schedule that there is": {"schedule": "gs(jacobi(loop7))"},
    "deep": {"schedule": "gs(" * 5000},
    "code": {"schedule": "__import__('os').abort()"},
    "a long reason": {"reason": "x" * 3000},
    "negative seconds": {"emitted": -1.0},
    "nothing": {"schedule": "", "reason": ""},
}


@pytest.mark.parametrize("kind", BAD)
@torch.no_grad()
def test_a_file_that_makes_no_sense_is_ignored_with_a_note(
    kept: Path, asked: list[str], raced: list[float], kind: str
) -> None:
    x = torch.randn(T, B, N)
    used(x)
    changed(the_file(kept), **BAD[kind])
    fast = used(x)
    assert asked.count("auto") == 2
    assert any("of the cache" in note for note in fast.report().notes), fast.report().notes
    used(x)
    assert asked.count("auto") == 2, "the file is right again"


@pytest.mark.parametrize(
    ("dtype", "sweeps", "is_taken"), [(torch.float32, 20, True), (torch.float32, 2, False), (torch.float64, 20, False)]
)
@torch.no_grad()
def test_sweeps_are_taken_where_they_settle_as_closely_as_is_asked(
    kept: Path, asked: list[str], raced: list[float], dtype: torch.dtype, sweeps: int, is_taken: bool
) -> None:
    x = torch.randn(T, B, N, dtype=dtype)
    steps = f"loop0[0:{T}]"
    text = str(used(x).schedule).replace(steps, f"jacobi({steps}, atol=0, rtol=1e-06, max_sweeps={sweeps})")
    changed(the_file(kept), schedule=text)
    fast = used(x)
    assert asked.count("auto") == (1 if is_taken else 2)
    assert any("of the cache" in note for note in fast.report().notes) != is_taken
    assert f"max_sweeps={sweeps}" in str(fast.schedule) or not is_taken


class Leaky(torch.nn.Module):
    """Forgets in a few steps, or in many."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.full((N,), share))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(B, N)
        for row in x:
            h = torch.tanh(self.share * h + row)
        return h


@torch.no_grad()
def test_what_was_measured_with_other_weights_is_not_taken_where_these_need_more_sweeps(
    kept: Path, asked: list[str], raced: list[float]
) -> None:
    x = 0.1 * torch.randn(T, B, N)
    first: Any = fxsolve.compile(Leaky(0.01), (x,), backend="eager")
    text = str(first.schedule).replace(f"loop0[0:{T}]", f"jacobi(loop0[0:{T}], atol=0, rtol=1e-06, max_sweeps={T})")
    changed(the_file(kept), schedule=text)
    notes, chosen = [], []
    for share in (0.01, 0.012, 0.9, 0.9):
        model = Leaky(share)
        fast: Any = fxsolve.compile(model, (x,), backend="eager")
        torch.testing.assert_close(fast(x), model(x))
        chosen.append(asked.count("auto"))
        notes.append([note for note in fast.report().notes if "sweeps here" in note])
        if share == 0.01:  # what settled is what the machine knows from now on
            settled = sum(one.sweeps for one in fast.report().runs if one.status != "sequential")
            changed(the_file(kept), sweeps=settled)
            assert 0 < settled < T // 2
    assert chosen == [1, 1, 2, 2]
    assert [len(one) for one in notes] == [0, 0, 1, 0]


@torch.no_grad()
def test_seconds_are_not_taken_for_those_of_a_schedule_that_other_buffers_forbid(
    kept: Path, asked: list[str], raced: list[float]
) -> None:
    class Filled(torch.nn.Module):
        mask: Tensor

        def __init__(self, mask: Tensor) -> None:
            super().__init__()
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros(B, T)
            for i in range(T):
                y[:, i] = torch.tanh((y @ self.mask)[:, i] + x[i, :, 0])
            return y

    x, full = torch.randn(T, B, N), 0.01 * torch.ones(T, T)
    first: Any = fxsolve.compile(Filled(full.triu(1)), (x,), backend="eager")
    assert str(first.schedule).startswith("gs(block0, ")
    changed(the_file(kept), schedule="gs(block0, jacobi(loop0[0:24]))")
    second: Any = fxsolve.compile(Filled(full.triu(1)), (x,), backend="eager")
    assert "jacobi" in str(second.schedule)
    assert asked.count("auto") == 1
    fast: Any = fxsolve.compile(Filled(full), (x,), backend="eager")
    assert asked.count("auto") == 2
    torch.testing.assert_close(fast(x), Filled(full)(x))


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "[1]", "\0" * 10**6, '{"format": NaN}'])
@torch.no_grad()
def test_a_broken_file_is_ignored_with_a_note(kept: Path, asked: list[str], raced: list[float], text: str) -> None:
    x = torch.randn(T, B, N)
    used(x)
    the_file(kept).write_text(text)
    assert any("makes no sense, and was ignored" in note for note in used(x).report().notes)
    assert asked == ["auto", "auto"]


@torch.no_grad()
def test_no_more_files_are_kept_than_so_many(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST", 2)
    for length in (20, 30, 40):
        fxsolve.compile(cell, (torch.randn(length, B, N),), backend="eager")
    assert len(list(kept.iterdir())) == 2


@torch.no_grad()
def test_threads_may_decide_at_once(kept: Path) -> None:
    x, wrong = torch.randn(T, B, N), []
    expected = cell(x)

    def work() -> None:
        with torch.no_grad():
            fast = fxsolve.compile(cell, backend="eager")
            if not all(torch.allclose(fast(x), expected) for _ in range(3)):
                wrong.append(fast)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert json.loads(the_file(kept).read_text())["format"] == memory.FORMAT


_PROCESS = """
import torch, fxsolve
from tests.runtime.test_memory import T, B, N, cell
from fxsolve.runtime import making
asked, real = [], making.schedule
making.schedule = lambda captured, parts, text, *rest: asked.append(text) or real(captured, parts, text, *rest)
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(T, B, N)
with torch.no_grad():
    fast = fxsolve.compile(cell, backend="eager")
    assert torch.allclose(fast(x), cell(x), atol=1e-5)
print("auto" in asked, fast.report().status, fast.schedule)
"""


@torch.no_grad()
def test_a_second_process_decides_nothing_and_two_at_once_leave_whole_files(kept: Path, asked: list[str]) -> None:
    begun = [subprocess.Popen([sys.executable, "-c", _PROCESS], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    both = [process.communicate(timeout=300)[0] for process in begun]
    assert all(text.startswith("True ") for text in both) or sorted(text[:4] for text in both) == ["Fals", "True"]
    json.loads(the_file(kept).read_text())
    x = torch.randn(T, B, N)
    fast = fxsolve.compile(cell, backend="eager")
    assert torch.allclose(fast(x), cell(x), atol=1e-5)
    assert "auto" not in asked
    assert f"{fast.report().status} {fast.schedule}" in {text.partition(" ")[2].strip() for text in both}
