"""When each entry is computed: not before it is final, not after it is read, and many at once where that leaves room.

Entries whose intervals [ready, deadline] share a step are computed in it together. As few steps as possible are found
by taking the earliest deadline, with all entries that are ready by then, again and again. A row of a picture that
nothing reads before its end is one call so, and a pixel that the next pixel reads is one of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import fx

from fxsolve.lower.incremental.places import Numbers, Places, nowhere_else
from fxsolve.lower.incremental.regions import Region
from fxsolve.lower.incremental.stage import Work
from fxsolve.solvers.step_order import StepOrder

LATER = np.iinfo(np.int64).max  # the deadline of what nothing reads


@dataclass
class Deadlines:
    """deadline[m]: the first step that reads the entries at place m of a region."""

    region: Region
    deadline: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = np.full(self.region.ready.shape, LATER)

    def read_all(self, steps: Sequence[int]) -> None:
        """All that is final is read in these steps, which increase; what is not may be anything."""
        known = np.append(np.asarray(steps, dtype=np.int64), LATER)
        self.deadline = np.minimum(self.deadline, known[np.searchsorted(known[:-1], self.region.ready)])

    def read(self, places: Places, steps: Sequence[int]) -> None:
        """These places are read, those of row a in the a-th of the steps."""
        when = np.broadcast_to(np.asarray(steps)[:, None], places.table.shape)
        table = places.table.clip(min=0)
        is_final = (places.table >= 0) & (self.region.ready[table] <= when)
        np.minimum.at(self.deadline, table[is_final], when[is_final])

    def along_fewer(self, shape: Sequence[int]) -> "Deadlines":
        """The same along as few dimensions as leave room between what is ready last and what is read first.

        Channels of which some are final earlier are computed with the others so, and rows of pixels as a whole.
        """
        found = self
        for dim in self.region.dims:
            found = found._without(dim, shape) or found
        return found

    def _without(self, dim: int, shape: Sequence[int]) -> "Deadlines | None":
        sizes = [shape[one] for one in self.region.dims]
        axis = self.region.dims.index(dim)
        is_read = self.deadline != LATER
        ready = np.where(is_read, self.region.ready, 0).reshape(sizes).max(axis)
        deadline = np.where(self.region.ready > 0, self.deadline, LATER).reshape(sizes).min(axis)
        if (ready > deadline).any():
            return None
        dims = tuple(one for one in self.region.dims if one != dim)
        found = Deadlines(Region(dims, ready.reshape(-1)))
        found.deadline = deadline.reshape(-1)
        return found

    def before_all(self, kept: Region) -> Places | None:
        """The places that are final before the first step and that anything reads: along no dimension for all of them.

        These are too many to be told apart where they are not told apart in what is `kept`, or half of all.
        """
        asked = np.flatnonzero((self.deadline != LATER) & (self.region.ready == 0))
        if not len(asked):
            return None
        if kept.dims != self.region.dims or 2 * len(asked) >= len(self.deadline):
            return nowhere_else(1)
        return Places(self.region.dims, asked[None])

    def schedule(self, order: StepOrder) -> tuple[Places, tuple[int, ...]]:
        """The places to compute, one row for each of the runs that do; rows of fewer places repeat one of their own.

        What is final before the first run is not among them.
        """
        rows = _again(_together(self.region.ready, self.deadline), order)
        most = max(map(len, rows.values()), default=1)
        filled = [row + row[-1:] * (most - len(row)) for row in rows.values()]
        return Places(self.region.dims, np.array(filled, np.int64).reshape(len(rows), most)), tuple(rows)


def _together(ready: Numbers, deadline: Numbers) -> dict[int, list[int]]:
    """The places by the step that computes them, in the order of the steps."""
    asked = np.flatnonzero((deadline != LATER) & (ready > 0))
    step, rows = 0, dict[int, list[int]]()
    for place in asked[np.argsort(deadline[asked], kind="stable")].tolist():
        if ready[place] > step:
            step = int(deadline[place])
        rows.setdefault(step, []).append(place)
    return {step: sorted(row) for step, row in rows.items()}


def _again(rows: Mapping[int, list[int]], order: StepOrder) -> dict[int, list[int]]:
    """What is computed in some runs is computed in those behind them, too, as long as it may change."""
    if order.times == 1:
        return dict(rows)
    found = {run: [rows.get(one, []) for one in range(run - order.times + 1, run + 1)] for run in order.later}
    joined = {run: sorted(place for row in some for place in row) for run, some in found.items()}
    return {run: row for run, row in joined.items() if row}


def in_stages(works: Mapping[fx.Node | None, Work], read: Mapping[fx.Node | None, set[fx.Node]]) -> list[Work]:
    """Nodes that are computed in the same steps as one stage, behind those that make what they `read`; results last.

    `works` come from the results, under None, back to the first node.
    """
    depth: dict[fx.Node | None, int] = {}
    groups: dict[tuple[int, tuple[int, ...]], dict[fx.Node, Places]] = {}
    for node in list(works)[::-1]:
        work, before = works[node], [one for one in read[node] if one in works]
        depth[node] = max((depth[one] + (works[one].steps != work.steps) for one in before), default=0)
        groups.setdefault((depth[node], work.steps), {}).update(work.nodes)
    last = (depth[None], works[None].steps)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0] == last))
    return [Work(key[1], nodes, works[None].results if key == last else ()) for key, nodes in ordered]
