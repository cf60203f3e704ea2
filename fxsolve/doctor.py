"""`fxsolve doctor`: what this installation has, and what its absence means."""

import platform
import shutil
import sys
from importlib.metadata import entry_points, version
from importlib.util import find_spec

import torch

from fxsolve.torch_compat.checks import TESTED

_ENTRY = "torch_dynamo_backends"


def examine() -> str:
    """One line for each part: what is there, and what does without it."""
    return "\n".join(f"{name:<12}{text}" for name, text in _findings())


def _findings() -> tuple[tuple[str, str], ...]:
    return (
        ("fxsolve", version("fxsolve")),
        ("python", f"{platform.python_version()}, {sys.executable}"),
        ("torch", f"{torch.__version__}; the tests are run on {' and '.join(TESTED)}"),
        ("devices", _devices()),
        ("threads", f"{torch.get_num_threads()} of {platform.machine()}"),
        ("compiler", shutil.which("c++") or shutil.which("g++") or 'none: backend="inductor" cannot compile on a CPU'),
        ("triton", _has("triton", "there", "none: scans run in torch ops, and inductor compiles for the CPU alone")),
        ("graphviz", shutil.which("dot") or "none: pictures are .svg, .html, .dot and .txt, not .png and .pdf"),
        ("backend", _backend()),
    )


def _devices() -> str:
    if not torch.cuda.is_available():
        return "the CPU alone"
    return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))


def _has(module: str, there: str, missing: str) -> str:
    return there if find_spec(module) is not None else missing


def _backend() -> str:
    found = entry_points(group=_ENTRY, name="fxsolve")
    known = 'torch.compile(model, backend="fxsolve") is known'
    return known if found else "torch.compile does not know fxsolve by name: install it again"
