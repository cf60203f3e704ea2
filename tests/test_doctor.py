"""What an installation has."""

from importlib.metadata import version

import torch

from fxsolve import __version__
from fxsolve.doctor import examine
from fxsolve.version import VERSION


def test_each_part_has_a_line() -> None:
    lines = dict(line.split(maxsplit=1) for line in examine().splitlines())
    assert lines["fxsolve"] == version("fxsolve")
    assert lines["torch"].startswith(torch.__version__)
    assert lines["devices"] == "the CPU alone" or torch.cuda.is_available()
    assert {"python", "threads", "compiler", "triton", "graphviz", "backend"} <= set(lines)


def test_the_version_is_said_once() -> None:
    assert VERSION == __version__ == version("fxsolve")
