"""Long work is announced on a terminal, and nowhere else."""

import io
import threading
import time

import pytest

from fxsolve.report import progress as module
from fxsolve.report.progress import progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_long_work_is_announced_on_a_terminal_and_wiped_out_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    before = threading.active_count()
    with progress("recording [bold]model"):
        time.sleep(0.3)
    assert "fxsolve: recording [bold]model" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")
    deadline = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_short_work_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("recording"):
        pass
    assert "recording" not in terminal.getvalue()


def test_a_file_gets_no_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    with progress("recording"):
        time.sleep(0.2)
    assert file.getvalue() == ""
