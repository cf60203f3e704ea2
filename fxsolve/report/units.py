"""Numbers and places as a person reads them."""

import math
import re
from pathlib import Path

_SOURCE = re.compile(r"[^\s()]+\.py:\d+")
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def time_text(seconds: float | None) -> str:
    """Three digits and a unit: 7.31 ms."""
    if seconds is None:
        return "-"
    if not math.isfinite(seconds):
        return str(seconds)
    # 0.9995 of a unit would print as 1e+03 of the next smaller one
    scale, unit = next((pair for pair in _UNITS if abs(seconds) >= 0.9995 * pair[0]), (1e-9, "ns"))
    return f"{digits(seconds / scale)} {unit}"


def digits(value: float) -> str:
    """Three significant digits without an exponent: 7.31, 73.1, 731, 12345."""
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def count(number: int, noun: str) -> str:
    """1 step, 4,096 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(numbers: list[int]) -> str:
    """12, or 12-15 where they differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def place(source: str) -> str:
    """`source` ("file:line") from the current folder or from the folder of installed packages, if it lies below."""
    path = Path(source)
    if "site-packages" in path.parts:
        return str(Path(*path.parts[path.parts.index("site-packages") + 1 :]))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source


def places(sentence: str) -> str:
    """`sentence` with every "file:line" in it as `place` gives it."""
    return _SOURCE.sub(lambda found: place(found[0]), sentence)
