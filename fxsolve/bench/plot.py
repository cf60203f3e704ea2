"""A benchmark as a picture."""

import textwrap
from pathlib import Path

from fxsolve.bench.data import Benchmark, Contender
from fxsolve.errors import InputError
from fxsolve.report.units import count, digits, time_text

_BEST, _OTHER, _ORIGINAL = "#00795a", "#0067a3", "#6e7781"


def save_plot(benchmark: Benchmark, path: Path) -> Path:
    """Draw each median as a point, on a line from the shortest to the longest call, in the form that `path` ends in.

    Raises `InputError` without matplotlib, and for endings that it does not know.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a plot is drawn by matplotlib, which is not installed: pip install matplotlib") from error
    shown = benchmark.contenders[::-1]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(shown):
        least, most, colour = min(one.seconds) * 1e3, max(one.seconds) * 1e3, _colour(benchmark, one)
        axes.plot([least, most], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(one.median * 1e3, place, "o", color=colour, markersize=8)
        words = f"{time_text(one.median)}, {digits(benchmark.gain(one))}x"
        axes.annotate(words, (most, place), (8, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), [_label(one) for one in shown])
    axes.grid(axis="x", alpha=0.3)
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set_xlabel("ms a call, with its backward pass" if benchmark.with_gradients else "ms a call")
    axes.set_title(f"{benchmark.program}({textwrap.shorten(benchmark.inputs, 60)})", loc="left")
    axes.text(
        1, 1.02, f"{benchmark.device}, {count(benchmark.threads, 'thread')}", transform=axes.transAxes, ha="right"
    )
    axes.spines[["top", "right"]].set_visible(False)
    if path.suffix.removeprefix(".") not in figure.canvas.get_supported_filetypes():
        raise InputError(f"{path.name}: a plot ends in .png, .svg or .pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _label(one: Contender) -> str:
    return "\n".join(textwrap.wrap(one.name, 42)[:2])


def _colour(benchmark: Benchmark, one: Contender) -> str:
    if one is benchmark.original:
        return _ORIGINAL
    return _BEST if one is benchmark.contenders[0] else _OTHER
