"""Test suites of other projects, run as they are and with their calls going through fxsolve: the same tests pass."""

import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.thirdparty]

HERE = Path(__file__).parent
SOURCES = "FXSOLVE_PEERS"  # a folder in which unpacked sources are kept, and looked for
_SECONDS = 7200
_TRANSFORMS = "torch.distributions.transforms"


@dataclass(frozen=True)
class Suite:
    """Tests of a project: where they are, and what of them goes through fxsolve besides the calls of modules."""

    label: str
    folder: str  # NAME-VERSION
    tests: tuple[str, ...]
    also: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # packages that the tests import, from PyPI
    url: str = ""  # of an archive, where no source distribution has the tests
    emits: bool = True  # whether a call that goes through fxsolve has a loop


_TORCHDIFFEQ = "a88aac53cae738addee44251288ce5be9a018af3"  # version 0.2.5
_ARCHIVE = f"https://github.com/rtqichen/torchdiffeq/archive/{_TORCHDIFFEQ}.tar.gz"
_SOLVERS = ("torchdiffeq.odeint", "torchdiffeq.odeint_adjoint", "torchdiffeq.odeint_event")
_ALL = tuple(f"tests/{name}_tests.py" for name in ("api", "event", "gradient", "norm", "odeint"))
# The others solve many problems to high accuracy: recording each of these solves takes seconds.
_SOME = (
    "tests/api_tests.py::TestCollectionState::test_forward",
    "tests/norm_tests.py::TestNorms::test_norm",
    "tests/norm_tests.py::TestNorms::test_adjoint_norm",
    "tests/odeint_tests.py::TestGridConstructor",
    "tests/odeint_tests.py::TestDiscontinuities::test_odeint_perturb",
    "tests/odeint_tests.py::TestCallbacks",
)

SUITES = (
    Suite(
        "zuko",
        "zuko-1.6.0",
        ("tests",),
        also=(
            "zuko.distributions.NormalizingFlow.log_prob",
            "zuko.distributions.NormalizingFlow.rsample",
            f"{_TRANSFORMS}.Transform.__call__",
            f"{_TRANSFORMS}._InverseTransform.__call__",
            "zuko.utils.bisection",
            "zuko.utils.odeint",
        ),
    ),
    Suite(
        "nflows",
        "nflows-0.14",
        ("tests/transforms",),
        also=(
            "nflows.transforms.base.CompositeTransform.inverse",
            "nflows.transforms.base.MultiscaleCompositeTransform.inverse",
            "nflows.transforms.autoregressive.AutoregressiveTransform.inverse",
        ),
        needs=("torchtestcase",),
    ),
    Suite(
        "snntorch",
        "snntorch-0.9.1",
        ("tests",),
        also=("snntorch.spikegen.rate", "snntorch.spikegen.latency", "snntorch.spikegen.delta"),
        needs=("h5py", "nir", "nirtorch"),
    ),
    Suite("torchdiffeq", f"torchdiffeq-{_TORCHDIFFEQ}", _ALL, url=_ARCHIVE, emits=False),
    Suite("torchdiffeq_solves", f"torchdiffeq-{_TORCHDIFFEQ}", _SOME, also=_SOLVERS, url=_ARCHIVE),
)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.mark.parametrize("schedule", ["gs", "auto"])
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.label)
def test_what_passes_as_it_is_passes_through_fxsolve(suite: Suite, schedule: str, ground: Path) -> None:
    plain, through = _run(suite, "plain", ground), _run(suite, schedule, ground)
    passed = _passed(plain)
    assert passed
    assert passed - _passed(through) == set()
    assert set(through["warnings"]) <= set(plain["warnings"])
    counts = through["counts"]
    assert counts["calls"] > 0
    assert counts.get("emitted", 0) > 0 or schedule == "auto" or not suite.emits
    assert counts.get("called again", 0) == counts.get("answered by an emitted module", 0)


def _passed(results: dict[str, Any]) -> set[str]:
    """The tests, and subtests, with no other outcome."""
    return {name for name, outcomes in results["outcomes"].items() if set(outcomes) == {"passed"}}


@cache
def _run(suite: Suite, mode: str, ground: Path) -> dict[str, Any]:
    """Run the tests of a suite, in a process of its own, from its own folder."""
    source, kept = _fetch(suite, ground), ground / f"{suite.label}-{mode}.json"
    folders = (source, HERE, HERE.parents[1], _install(suite, ground))
    options = (f"--through={mode}", f"--through-also={','.join(suite.also)}", f"--through-results={kept}")
    command = (sys.executable, "-m", "pytest", "-p", "through_fxsolve", "-p", "no:cacheprovider", *options)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        (*command, *suite.tests), cwd=source, env=environment, capture_output=True, text=True, timeout=_SECONDS
    )
    assert kept.exists(), done.stdout + done.stderr
    print(done.stdout[done.stdout.rfind("= through fxsolve") :])
    return json.loads(kept.read_text())


def _fetch(suite: Suite, ground: Path) -> Path:
    """The folder of the unpacked source; the test is skipped where it cannot be had."""
    folder = Path(os.environ.get(SOURCES, ground))
    if not (folder / suite.folder).exists():
        archive = _download_archive(suite, folder) if suite.url else _download_distribution(suite, folder)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder / suite.folder


def _download_archive(suite: Suite, folder: Path) -> Path:
    try:
        with urllib.request.urlopen(suite.url, timeout=60) as answer:
            content = answer.read()
    except OSError as error:
        pytest.skip(f"{suite.url}: {error}; unpack it in the folder that ${SOURCES} names")
    archive = folder / f"{suite.folder}.tar.gz"
    archive.write_bytes(content)
    return archive


def _download_distribution(suite: Suite, folder: Path) -> Path:
    name, _, version = suite.folder.rpartition("-")
    _pip("download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", folder, f"{name}=={version}")
    return folder / f"{suite.folder}.tar.gz"


def _install(suite: Suite, ground: Path) -> Path:
    """A folder with what the tests import besides."""
    folder = ground / f"{suite.label}-needs"
    if suite.needs and not folder.exists():
        _pip("install", "--no-deps", "--target", folder, *suite.needs)
    return folder


def _pip(*words: object) -> None:
    done = subprocess.run((sys.executable, "-m", "pip", *map(str, words)), capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"pip {words[0]}: {done.stderr.strip().rpartition(chr(10))[2]}")
