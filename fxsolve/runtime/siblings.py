"""Calls like others, at other sizes, that were left alone: they are left alone too, and not recorded for that."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from fxsolve.runtime.entries import Entry
from fxsolve.runtime.family import sizes_of
from fxsolve.runtime.guard_keys import CallKey, family_of
from fxsolve.torch_compat.trees import pytree

_LEAST = 2  # sizes at which a program was left alone
_REACH = 1.5  # from the smallest of them to the largest, and so much beyond
_MOST_FAMILIES = 8
_MOST_SIZES = 8

Sizes = tuple[int, ...]


class Siblings:
    """For each family of calls, the sizes at which it was of no use to record them, and why."""

    def __init__(self) -> None:
        self._left: OrderedDict[Hashable, dict[Sizes, str]] = OrderedDict()

    def add(self, call: CallKey, leaves: Any, entry: Entry) -> None:
        """Learn what became of a recording: what was measured, or could not be recorded, is so at other sizes."""
        key, is_measured = family_of(call), entry.report.emitted_seconds is not None
        if entry.ready is not None:
            self._left.pop(key, None)
        elif is_measured or entry.refusal is not None:
            known = self._left.pop(key, {})
            self._left[key] = dict([*known.items(), (_sizes(leaves), entry.report.reason)][-_MOST_SIZES:])
            while len(self._left) > _MOST_FAMILIES:
                self._left.popitem(last=False)

    def why_alone(self, call: CallKey, leaves: Any) -> str:
        """Why a call of new sizes is left alone; "" where it is recorded."""
        known = self._left.get(family_of(call), {})
        if len(known) < _LEAST:
            return ""
        pairs = zip(zip(*known, strict=True), _sizes(leaves), strict=True)
        if not all(min(column) / _REACH <= size <= max(column) * _REACH for column, size in pairs):
            return ""
        return f"not recorded: it was left alone at {len(known)} sizes like these: {next(reversed(known.values()))}"


def _sizes(leaves: Any) -> Sizes:
    return sizes_of(pytree.tree_leaves(leaves))
