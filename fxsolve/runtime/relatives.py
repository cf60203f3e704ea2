"""From which recordings at other lengths a call may be derived."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

import torch

from fxsolve.errors import FxSolveError, InputError
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.runtime.family import Member, find_lengths, sizes_of
from fxsolve.runtime.rehearsal import Rehearsal
from fxsolve.stages import Clock
from fxsolve.torch_compat.trees import pytree

_MAX_TRIED = 2  # pairs; each costs one run of the program


@dataclass
class Relatives:
    """Known recordings of the family of a call, and what a declaration gives besides; notes say what became of it.

    `refused` is why the newest pair was of no use.
    """

    known: tuple[Member, ...] = ()
    rehearsal: Rehearsal | None = None
    rehearsed: list[Member] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: str = ""

    def pairs(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], clock: Clock
    ) -> Iterator[tuple[Member, Member, Lengths]]:
        """Pairs that may tell the call, the newest ones first. InputError if the declaration does not fit the call."""
        given = self.rehearsal.of(args, kwargs) if self.rehearsal else None
        lengths = given.lengths() if given else {}
        sizes = sizes_of(pytree.tree_leaves((args, kwargs)))
        yield from islice(_fitting(self.known, sizes), _MAX_TRIED)
        if given is None or self.rehearsal is None:
            return
        made = self.rehearsal.pairs(given, lengths)
        while (pair := clock.time("rehearse", self._next, made)) is not None:
            self.rehearsed += pair
            yield from _fitting(pair, sizes)
        if self.rehearsed and not self.notes:
            self._give_up(self.refused)

    def _next(self, made: Iterator[tuple[Member, Member]]) -> tuple[Member, Member] | None:
        try:
            return next(made, None)
        except InputError:
            raise
        except FxSolveError as error:
            self._give_up(str(error))
        except Exception as error:
            self._give_up(f"on shorter arguments the program raised {type(error).__name__}: {error}")
        return None

    def _give_up(self, reason: str) -> None:
        assert self.rehearsal is not None
        self.rehearsal.failed.add(torch.is_grad_enabled())
        self.notes.append(f"recorded at its own length, in spite of dynamic_shapes: {reason}")


def _fitting(members: tuple[Member, ...], sizes: tuple[int, ...]) -> Iterator[tuple[Member, Member, Lengths]]:
    for two, one in combinations(reversed(members), 2):
        lengths = find_lengths(one, two, sizes)
        if lengths is not None:
            yield one, two, lengths
