"""What was learned on this machine, on disk: read by every process, and believed only where it makes sense.

The folder is `FXSOLVE_CACHE`, by default fxsolve in the user's folder of caches; with "off", nothing is read or
written. Files are JSON of numbers, and are replaced as a whole.
"""

import json
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fxsolve.economy.prices import Prices

VARIABLE = "FXSOLVE_CACHE"
FORMAT = "fxsolve-prices-1"
_LONGEST = 1 << 16  # bytes of a file that is read
_MOST = 64  # compilations that a mean is made of: newer ones count for more
# What no machine takes for an op; beyond that, the file is not one of ours.
_SECONDS = (1e-4, 10.0)
_LEAST = 0.25  # of the price: what takes less was found in inductor's own cache


def folder() -> Path | None:
    """Where files are kept; None where none are."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return None if given.strip().lower() in ("", "off", "0") else Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "fxsolve" if base else Path.home() / ".cache" / "fxsolve"


def read_prices() -> Prices:
    """The prices of this machine; the built-in ones where nothing is known of it, or nothing that makes sense."""
    known = _entry(_read())
    return Prices() if known is None else replace(Prices(), op_seconds=known[1])


def learn_price(ops: int, seconds: float) -> None:
    """A graph of so many ops was compiled, in so many seconds. Never raises: what cannot be written is not known."""
    prices = read_prices()
    if ops < 1 or seconds < _LEAST * prices.compiling(ops):
        return
    each = (seconds - prices.graph_seconds) / ops
    if not _SECONDS[0] <= each <= _SECONDS[1]:
        return
    with suppress(OSError, ValueError):
        machines = _read()
        count, mean = _entry(machines) or (0, 0.0)
        count = min(count, _MOST)
        machines[machine()] = {"compilations": count + 1, "op_seconds": (count * mean + each) / (count + 1)}
        _write(machines)


def machine() -> str:
    """What prices depend on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _entry(machines: dict[str, Any]) -> tuple[int, float] | None:
    """Compilations, and seconds for an op, of this machine."""
    known = machines.get(machine())
    if not isinstance(known, dict):
        return None
    count, each = known.get("compilations"), known.get("op_seconds")
    if type(count) is not int or count < 1 or type(each) is not float:
        return None
    return (count, each) if _SECONDS[0] <= each <= _SECONDS[1] else None


def _read() -> dict[str, Any]:
    """What the file says of each machine; nothing where it is missing, foreign or broken."""
    where = folder()
    if where is None:
        return {}
    try:
        path = where / "prices.json"
        if path.stat().st_size > _LONGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("machines"), dict):
        return {}
    return found["machines"]


def _write(machines: dict[str, Any]) -> None:
    """Replace the file as a whole: of several processes, one writes last."""
    where = folder()
    if where is None:
        return
    where.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=where, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "machines": machines}, file)
        os.replace(name, where / "prices.json")
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
