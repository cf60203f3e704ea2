"""Names of blocks that are numbered, in short: `layer1..layer6`, and `layer1` for `block0.stage2.layer1`."""

import re
from collections.abc import Collection, Sequence

_FEWEST = 3


def name_runs(names: Sequence[str]) -> list[str]:
    """The names, with `a..b` for three or more in a row that count up or down at their end, if parts of a block do."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _goes_on(runs[-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return [text for run in runs for text in ([f"{run[0]}..{run[-1]}"] if len(run) >= _FEWEST else run)]


def _goes_on(run: Sequence[str], name: str) -> bool:
    """Whether a name is that of the last one of a run with the next number, the way that the run goes."""
    (stem, number), (before, last) = _parts(name), _parts(run[-1])
    step = number - last
    is_next = "." in stem and stem == before and abs(step) == 1
    return is_next and (len(run) == 1 or _parts(run[-2])[1] == last - step)


def _parts(name: str) -> tuple[str, int]:
    """A name without the number at its end, and that number; one that is written with zeros in front is no number."""
    found = re.fullmatch(r"(.*?)(0|[1-9]\d*)", name)
    return (found[1], int(found[2])) if found else ("", 0)


def names_between(first: str, last: str) -> list[str]:
    """What `first..last` stands for; nothing where the two do not count up or down from one to the other."""
    (stem, start), (other, stop) = _parts(first), _parts(last)
    step = 1 if start <= stop else -1
    return [f"{stem}{number}" for number in range(start, stop + step, step)] if stem and stem == other else []


def full_name(short: str, names: Collection[str]) -> str:
    """The only one of `names` that ends in `short`, at one of its dots; `short` itself where there is none.

    Of two that are of one layer, it is that of the forward pass.
    """
    ending = [name for name in names if name.endswith(f".{short}")]
    forward = [name for name in ending if "_backward." not in name] or ending
    return forward[0] if short not in names and len(forward) == 1 else short
