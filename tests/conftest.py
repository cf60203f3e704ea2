"""Settings shared by all tests."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, and for the processes that tests start: tests run side by side, each on one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FXSOLVE_CACHE"] = "off"  # tests know nothing of the machine, and leave nothing behind on it
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    folder = Path(tempfile.gettempdir()) / f"fxsolve_tests_{os.getuid()}" / worker
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))  # compiled steps of one worker are its own

import pytest
import torch
from hypothesis import HealthCheck, settings

from fxsolve.economy import ledger

# A machine that others use too may be slow at any time.
settings.register_profile("shared machine", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("shared machine")

torch.set_num_threads(1)
gc.set_threshold(20_000, 10, 50)  # what was imported stays: to look through it in every test takes a tenth of the time


@pytest.fixture(autouse=True)
def seed() -> int:
    """Start every test from the same random state; the seed is the value, for tests that start again."""
    torch.manual_seed(0)
    return 0


@pytest.fixture(autouse=True)
def records_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests call a program a few times, and many of its kinds: recordings are not put off until calls took as long."""
    monkeypatch.setattr(ledger, "START_SECONDS", float("inf"))


@pytest.fixture
def doubles() -> Iterator[None]:
    """Programs are made in double precision, in which rounding is no difference."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
