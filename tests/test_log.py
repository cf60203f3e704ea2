"""What is said without being asked: a line for each recording, a warning where nothing came of a long first call."""

import io
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.economy.ledger import Ledger
from fxsolve.errors import InputError, LeftAloneError
from fxsolve.report import log

ROOT = Path(__file__).resolve().parents[1]
x = torch.ones(16, 3)


def loop(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h


def no_loop(x: Tensor) -> Tensor:
    return x + 1


def said(caplog: pytest.LogCaptureFixture, level: str = "INFO") -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "fxsolve" and one.levelname == level]


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fxsolve")


def test_each_recording_is_one_line_with_program_call_schedule_and_seconds(caplog: pytest.LogCaptureFixture) -> None:
    fast = fxsolve.compile(loop, backend="eager", schedule="gs")
    for _ in range(3):
        fast(x)
    (line,) = said(caplog)
    assert line.startswith("fxsolve: loop(float32[16, 3]): gs(")
    assert " ms" in line or " s" in line
    fast(torch.ones(16, 5))
    assert len(said(caplog)) == 2


def test_the_expected_gain_is_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    report = fxsolve.explain(no_loop, x)
    assert "; 4.00x: 2.00 ms instead of 8.00 ms a call" in log.summary(
        type(report)("f", "emitted", original_seconds=8e-3, emitted_seconds=2e-3), 1.0
    )


def test_a_program_that_is_left_alone_is_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    fxsolve.compile(no_loop)(x)
    (line,) = said(caplog)
    assert line.startswith("fxsolve: no_loop(float32[16, 3]): left alone after ")
    assert "no loop was found" in line
    assert said(caplog, "WARNING") == []


def test_nothing_gained_by_a_long_first_call_is_a_warning_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LONG", 0.0)
    fast = fxsolve.compile(no_loop)
    for width in (3, 4, 3):
        fast(torch.ones(16, width))
    (line,) = said(caplog, "WARNING")
    assert "no loop was found" in line
    assert "on_left_alone='ignore'" in line
    fxsolve.compile(no_loop, on_left_alone="ignore")(x)
    assert len(said(caplog, "WARNING")) == 1


def test_it_can_be_an_error_at_every_call(caplog: pytest.LogCaptureFixture) -> None:
    fast = fxsolve.compile(no_loop, on_left_alone="error")
    for _ in range(2):
        with pytest.raises(LeftAloneError, match="no_loop is left alone: no loop was found"):
            fast(x)
    emitted = fxsolve.compile(loop, backend="eager", schedule="gs", on_left_alone="error")
    assert torch.equal(emitted(x), loop(x))
    assert torch.equal(emitted(x), loop(x))


def test_what_sets_itself_up_at_its_first_call_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class SetsUp(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_parameter("scale", None)

        def forward(self, x: Tensor) -> Tensor:
            if self.scale is None:
                self.scale = torch.nn.Parameter(x.mean())
            return loop(x * self.scale)

    with torch.no_grad():
        fast = fxsolve.compile(SetsUp(), backend="eager", schedule="gs", on_left_alone="error")
        for _ in range(4):
            fast(x)
    assert fast.report().status == "emitted", fast.report().reason


def test_what_is_recorded_later_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which kinds of calls are put off depends on the clock: a program must not fail by that."""
    fast = fxsolve.compile(loop, on_left_alone="error")
    monkeypatch.setattr(Ledger, "why_not_record", lambda _: "later")
    for _ in range(2):
        assert torch.equal(fast(x), loop(x))
        assert fast.report().reason == "later"


def test_other_answers_are_refused() -> None:
    with pytest.raises(InputError, match="on_left_alone is 'raise'; choose one of ignore, warn, error"):
        fxsolve.compile(loop, on_left_alone="raise")


class Terminal:
    """Takes what is written to it, and says that it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_a_long_call_says_on_a_terminal_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(log, "LONG", 0.05)
    with log.notice("compiling a"):
        time.sleep(0.2)
    assert terminal.text.startswith("fxsolve: compiling a ...\nfxsolve: compiling a took ")


def test_short_calls_and_other_streams_stay_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "LONG", 0.05)
    with log.notice("compiling a"):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with log.notice("compiling a"):
        pass
    time.sleep(0.1)
    assert terminal.text == ""


def test_a_service_may_have_closed_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(log, "LONG", 0.01)
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        with log.notice("compiling a"):
            time.sleep(0.02)


def test_a_program_may_close_the_terminal_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(log, "LONG", 0.01)
    with log.notice("compiling a"):
        terminal.close()
        time.sleep(0.05)


@pytest.mark.slow  # for want of a quick import
@pytest.mark.parametrize(
    ("name", "value"), [("FXSOLVE_LOGS", "info"), ("FXSOLVE_LOGS", "error"), ("TORCH_LOGS", "fxsolve")]
)
def test_logs_are_asked_for_by_the_environment(name: str, value: str) -> None:
    program = (
        "import torch, fxsolve\ndef f(x):\n  for _ in range(12):\n    x = x.tanh()\n  return x\n"
        "fxsolve.compile(f, schedule='gs', backend='eager')(torch.ones(3))"
    )
    environment = {**os.environ, name: value, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if "fxsolve: f(float32[3]): gs(" in line]
    assert len(lines) == (0 if value == "error" else 1)


def test_a_level_of_the_environment_is_set_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = logging.getLogger("fxsolve_fresh")
    monkeypatch.setattr(log, "LOGGER", fresh)
    for level in ("", "Info", "error"):
        monkeypatch.setenv("FXSOLVE_LOGS", level)
        log.set_up_logging()
        fresh.info("seen %s", level)
    assert capsys.readouterr().err == "seen Info\n"


def test_a_level_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXSOLVE_LOGS", "loud")
    with pytest.raises(InputError, match="FXSOLVE_LOGS is 'loud'; choose one of debug, info, warning, error"):
        log.set_up_logging()
