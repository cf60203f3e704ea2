"""Parameters of a test of which a product would say little more."""

import itertools
from collections.abc import Iterable
from typing import Any


def in_turn(first: Iterable[Any], *others: Iterable[Any], times: int = 1) -> list[tuple[Any, ...]]:
    """Each of the first, `times` times, with the next choice from the product of the others, round and round."""
    choices = itertools.cycle(itertools.product(*others))
    return [(one, *next(choices)) for one in first for _ in range(times)]
