"""`fxsolve bench`: every form of a program that is right, timed in turn; a form that is wrong takes no part."""

import copy
import io
import itertools
import json
import random
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich import box
from rich.console import Console
from torch import Tensor, nn

from fxsolve.bench import bench as module
from fxsolve.bench import forms as forms_module
from fxsolve.bench import peers
from fxsolve.bench.bench import BenchSettings, bench_subject
from fxsolve.bench.data import ORIGINAL, Benchmark, Contender, LeftOut, bench_json
from fxsolve.bench.forms import NAMES, TORCH, TimedForm, weighed
from fxsolve.bench.peers import TookTooLong, within_seconds
from fxsolve.bench.plot import save_plot
from fxsolve.bench.steps import StepWithGradients
from fxsolve.bench.table import bench_table, print_bench
from fxsolve.errors import InputError
from fxsolve.factory import Subject
from fxsolve.report.data import Check
from tests.goldens import check_golden
from tests.report.samples import GRU

CHECK = Check(2.4e-7, bitwise=False, tolerance=1e-5)
EAGER = BenchSettings(calls=2, threads=1, seconds=0.01, backend="eager")


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x[0]
        for x_t in x:
            h = torch.tanh(self.cell(h) + x_t)
        return h


def never_done(program: Any) -> Any:
    """Takes the place of torch.compile."""
    return lambda *_: deque((k for k in itertools.count()), maxlen=0)


@pytest.fixture(autouse=True)
def _without_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms_module, "by_torch", never_done)


@pytest.fixture(scope="module")
def measured() -> Benchmark:
    torch.manual_seed(0)
    with torch.enable_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms_module, "by_torch", never_done)
        return bench_subject(Subject(Cell(), (torch.randn(24, 2, 4),), {}), EAGER)


def test_every_schedule_that_fits_is_timed_beside_the_original_with_its_gradients(measured: Benchmark) -> None:
    schedules = {one.name: one.schedule for one in measured.contenders}
    assert "jacobi(loop0[0:24])" in schedules["jacobi"]
    assert "newton(loop0[0:24])" in schedules["newton"]
    assert "loop0[0:24]" in schedules["gs"]
    assert "jacobi" not in schedules["gs"]
    assert all(len(one.seconds) == 2 and min(one.seconds) > 0 for one in measured.contenders)
    assert [one.median for one in measured.contenders] == sorted(one.median for one in measured.contenders)
    assert measured.gain(measured.original) == 1
    for one in measured.contenders:
        assert one.gradient_check is not None
        assert one.check.max_difference <= one.check.tolerance < 1e-3
    newton = next(one for one in measured.contenders if one.name == "newton")
    assert newton.bound is not None
    assert newton.residual is not None


def test_each_form_takes_part_or_the_reason_is_said(measured: Benchmark) -> None:
    said = {one.name: one.reason for one in measured.left_out}
    taking_part = {one.name for one in measured.contenders}
    assert {ORIGINAL, TORCH, *NAMES} <= taking_part | set(said)
    assert taking_part.isdisjoint(said)
    assert said[TORCH] == "it had not finished after 10.0 ms"
    assert all(said.values())


def test_the_table_has_all_of_it_in_80_columns(measured: Benchmark) -> None:
    stream = io.StringIO()
    print_bench(measured, stream)
    text = stream.getvalue()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("fxsolve bench: Cell(float32[24, 2, 4])\na call and its backward pass: medians of 2 calls")
    for one in (*measured.contenders, *measured.left_out):
        assert one.name in text


def test_json_has_every_number(measured: Benchmark) -> None:
    data = json.loads(bench_json(measured))
    assert data["format"] == "fxsolve-bench-1"
    assert [tuple(one["seconds"]) for one in data["contenders"]] == [one.seconds for one in measured.contenders]


def test_a_plot_is_drawn_by_matplotlib_into_new_folders(measured: Benchmark, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots are drawn by matplotlib")
    assert save_plot(measured, tmp_path / "new" / "bench.png").read_bytes().startswith(b"\x89PNG")
    svg = save_plot(measured, tmp_path / "bench.svg").read_text()
    assert "<svg" in svg
    with pytest.raises(InputError, match="a plot ends in"):
        save_plot(measured, tmp_path / "bench.nothing")


def test_without_matplotlib_a_plot_says_what_to_install(
    measured: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        save_plot(measured, tmp_path / "bench.png")


def test_a_form_that_is_wrong_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def forms(subject: Subject, *_: Any) -> Iterator[TimedForm]:
        yield TimedForm(ORIGINAL, subject.model)
        yield TimedForm("right", lambda x: x + 1)
        yield TimedForm("wrong", lambda x: x + 1.01)

    monkeypatch.setattr(module, "forms_of", forms)
    with torch.no_grad():
        found = bench_subject(Subject(lambda x: x + 1, (torch.ones(3),), {}), EAGER)
    assert {one.name for one in found.contenders} == {ORIGINAL, "right"}
    (left,) = found.left_out
    assert left.name == "wrong"
    assert left.reason.startswith("its results are wrong: off by 1.0e-02, ")


def test_wrong_gradients_are_seen_where_results_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(3, 3)

    def forms(subject: Subject, *_: Any) -> Iterator[TimedForm]:
        yield TimedForm(ORIGINAL, StepWithGradients(model, tuple(model.parameters())))
        yield TimedForm(
            "wrong", StepWithGradients(lambda x: 2 * model(x) - model(x).detach(), tuple(model.parameters()))
        )

    monkeypatch.setattr(module, "forms_of", forms)
    (left,) = bench_subject(Subject(model, (torch.ones(2, 3),), {}), EAGER).left_out
    assert left.reason.startswith("its gradients are wrong: ")


def test_a_limit_of_time_ends_what_python_runs_and_leaves_no_alarm() -> None:
    before = signal.getsignal(signal.SIGALRM)
    start = time.perf_counter()
    with pytest.raises(TookTooLong), within_seconds(0.05):
        deque((k for k in itertools.count()), maxlen=0)
    assert time.perf_counter() - start < 5
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_limit_of_time_outlasts_one_that_was_raised_while_an_object_was_finalized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Last:
        def __del__(self) -> None:
            time.sleep(5)

    def lose_one() -> None:
        Last()
        time.sleep(5)

    monkeypatch.setattr(peers, "_AGAIN", 0.1)
    start = time.perf_counter()
    with pytest.raises(TookTooLong), within_seconds(0.05):
        lose_one()
    assert time.perf_counter() - start < 2
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_torch_compile_takes_part_where_it_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms_module, "by_torch", peers.by_torch)
    found = bench_subject(Subject(torch.tanh, (torch.ones(3),), {}), BenchSettings(2, 1, 30.0, "eager"))
    assert TORCH in {one.name for one in found.contenders}


class Counting(Cell):
    """Counts its calls, keeps what it saw, and draws random numbers from torch and from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, []
        self.generator = torch.Generator().manual_seed(3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.mean.mul_(0.9).add_(x.mean((0, 1)))
        return super().forward(x) + torch.rand(4) + torch.rand(4, generator=self.generator)


def test_the_program_and_the_generators_are_left_as_they_were() -> None:
    model, x = Counting(), torch.randn(8, 2, 4)
    model(x).sum().backward()
    before = (copy.deepcopy(model.state_dict()), torch.get_rng_state(), model.generator.get_state())
    gradient, random_before = model.cell.weight.grad, random.getstate()
    bench_subject(Subject(model, (x,), {}), EAGER)
    after = (model.state_dict(), torch.get_rng_state(), model.generator.get_state())
    assert (model.calls, model.seen) == (1, [1])
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert model.cell.weight.grad is gradient
    assert random.getstate() == random_before


def test_threads_are_as_they_were() -> None:
    before = torch.get_num_threads()
    bench_subject(Subject(torch.tanh, (torch.ones(3),), {}), BenchSettings(1, before + 1, 0.01, "eager"))
    assert torch.get_num_threads() == before


def test_what_was_weighed_for_the_longest_loop_takes_the_place_of_what_was_chosen() -> None:
    assert weighed(GRU) == {"gs(cell)": "gs(cell)"}


MADE = Benchmark(
    program="Recurrence",
    inputs="float32[256, 4, 16]",
    device="cpu",
    threads=1,
    with_gradients=True,
    contenders=(
        Contender("auto", "gs(block0, jacobi(loop0[0:256]))", (2e-3, 3e-3), 1.5, CHECK, CHECK, 0.0, 1.8e-5),
        Contender(ORIGINAL, "", (9e-3, 1e-2), 0.0, Check(0.0, True, 0.0)),
    ),
    left_out=(LeftOut("picard", "it fits no loop of this program"), LeftOut(TORCH, "it had not finished after 60.0 s")),
)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("is_terminal", [False, True], ids=["plain", "coloured"])
def test_a_benchmark_looks_as_it_did(is_terminal: bool, width: int) -> None:
    stream = io.StringIO()
    colours = "standard" if is_terminal else None
    console = Console(file=stream, width=width, color_system=colours, highlight=False, markup=False, emoji=False)
    console.print(bench_table(MADE, box.SIMPLE_HEAD))
    name = f"bench_{width}{'_coloured' if is_terminal else ''}"
    check_golden(f"report/{name}", re.sub(r" +$", "", stream.getvalue(), flags=re.MULTILINE))
