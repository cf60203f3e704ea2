"""The prices that this machine has paid, on disk: read by every process, and believed only where they make sense."""

from dataclasses import replace
from typing import Any

from fxsolve.economy.files import machine, read_file, write_file
from fxsolve.economy.prices import Prices

FORMAT = "fxsolve-prices-2"
_FILE = "prices.json"
_MOST = 64  # compilations that a mean is made of: newer ones count for more
# What no machine takes for an op; beyond that, the file is not one of ours.
_SECONDS = (1e-4, 10.0)
_LEAST = 0.25  # of the price: what takes less was found in inductor's own cache


def read_prices() -> Prices:
    """The prices of this machine; the built-in ones where nothing is known of it, or nothing that makes sense."""
    known = _entry(_machines())
    return Prices() if known is None else replace(Prices(), op_seconds=known[1])


def learn_price(ops: int, seconds: float) -> None:
    """A graph of so many ops was compiled, in so many seconds. Never raises: what cannot be written is not known."""
    prices = read_prices()
    if ops < 1 or seconds < _LEAST * prices.compiling(ops):
        return
    each = (seconds - prices.graph_seconds) / ops
    if not _SECONDS[0] <= each <= _SECONDS[1]:
        return
    machines = _machines()
    count, mean = _entry(machines) or (0, 0.0)
    count = min(count, _MOST)
    machines[machine()] = {"compilations": count + 1, "op_seconds": (count * mean + each) / (count + 1)}
    write_file(_FILE, FORMAT, {"machines": machines})


def _entry(machines: dict[str, Any]) -> tuple[int, float] | None:
    """Compilations, and seconds for an op, of this machine."""
    known = machines.get(machine())
    if not isinstance(known, dict):
        return None
    count, each = known.get("compilations"), known.get("op_seconds")
    if type(count) is not int or count < 1 or type(each) is not float:
        return None
    return (count, each) if _SECONDS[0] <= each <= _SECONDS[1] else None


def _machines() -> dict[str, Any]:
    """What the file says of each machine."""
    found = read_file(_FILE, FORMAT) or {}
    return found["machines"] if isinstance(found.get("machines"), dict) else {}
