"""Equation blocks of a straight line of calls: convex groups, between which the dependencies are carried."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from fxsolve.structure.quotient import longest_path, readers_of

Path = tuple[str, ...]

FLOATING = -1
_MOST_BESIDE = 0.3


@dataclass(frozen=True)
class CallGraph:
    """Calls in order, as integers: `reads[i]` are the earlier calls that call i reads, each once.

    `costs` are those of products and convolutions, 0 for all other calls; `gathers` says that a call reads several
    values and gives as many bytes as it reads, as `cat` does. `paths` are the modules that own the weights of a call,
    () where it has none; `modules` are all that own any weight, of other code too.
    """

    reads: tuple[tuple[int, ...], ...]
    costs: tuple[int, ...]
    gathers: tuple[bool, ...]
    paths: tuple[Path, ...]
    modules: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Grouping:
    """The block of each call, and of each block the module that it stands for, () where there is none.

    Blocks are numbered in an order in which each reads only those before it.
    """

    block: tuple[int, ...]
    paths: tuple[Path, ...]


def group(graph: CallGraph) -> Grouping:
    """Equation blocks: convex, acyclic groups of calls that cover all; one block where nothing is costly.

    What is sought, in this order:

    1. *Dependencies are carried by skips, not hidden.* Each product or convolution starts a block, so that whoever
       reads a layer's result reads it from a block of its own.
    2. *Few carried bytes.* A cheap call belongs to the block that it reads. What joins several blocks belongs to the
       last of them where that makes bytes fewer (a sum), or to the only call that reads it where it does not (`cat`
       gathers what is carried anyway); and it stays by itself where that would make paths wait for one another.
    3. *Balanced cost.* The costly calls of one written module, of which there are others like it, are one block where
       they are a chain without a skip inside (a bottleneck, a dense layer), and little of it
       could run beside the rest: what costs little and could not run at once is not worth a block of its own.

    Nothing is chosen at random, and each call is looked at a few times: 10,000 calls take well below a second.
    """
    growth = _Growing(graph, readers_of(graph.reads))
    for call in range(len(graph.reads)):
        growth.add(call)
    if not any(graph.costs):
        return Grouping((0,) * len(graph.reads), ((),))
    growth.settle_light()
    paths = _merge_modules(growth)
    growth.settle_floating()
    return _numbered(growth, paths)


@dataclass
class _Growing:
    """Blocks while calls are added; every block reads only blocks with smaller numbers, so no two can be in a ring.

    `behind` are the bits of the blocks that lead to a block, itself among them.
    """

    graph: CallGraph
    readers: list[list[int]]
    block: list[int] = field(default_factory=list)
    members: list[list[int]] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    costly: list[bool] = field(default_factory=list)

    def add(self, call: int) -> None:
        """Put the next call into a block, or let it float until its first reader has one."""
        sources = {self.block[read] for read in self.graph.reads[call]} - {FLOATING}
        last = max(sources, default=FLOATING)
        if self.graph.costs[call] > 0:
            is_open = last != FLOATING and not self.costly[last] and self._is_only_reader(last, call)
            self._put(call, last if is_open else self._start(), sources)
            self.costly[self.block[call]] = True
        elif not sources:
            self.block.append(FLOATING)
        elif (self.graph.gathers[call] and len(self.readers[call]) == 1) or self._beside(sources, last):
            self._put(call, self._start(), sources)
        else:
            self._put(call, last, sources)

    def _start(self) -> int:
        self.members.append([])
        self.behind.append(1 << len(self.behind))
        self.costly.append(False)
        return len(self.members) - 1

    def _put(self, call: int, block: int, sources: Iterable[int]) -> None:
        self.block.append(block)
        self.members[block].append(call)
        for source in sources:
            self.behind[block] |= self.behind[source]

    def _is_only_reader(self, block: int, call: int) -> bool:
        """Whether nothing outside of a block reads its values but the call that comes next."""
        readers = (reader for member in self.members[block] for reader in self.readers[member])
        return all(reader == call or (reader < call and self.block[reader] == block) for reader in readers)

    def _beside(self, sources: Iterable[int], last: int) -> bool:
        """Whether one of the blocks does not lead to the last of them."""
        return any(not self.behind[last] >> source & 1 for source in sources)

    def settle_light(self) -> None:
        """A block without a costly call joins the last one that it reads, unless others run beside that."""
        for block, calls in enumerate(self.members):
            if self.costly[block] or not calls:
                continue
            sources = {self.block[read] for call in calls for read in self.graph.reads[call]} - {FLOATING, block}
            last = max(sources, default=FLOATING)
            if last != FLOATING and not self._beside(sources, last):
                self._move(block, last)

    def _move(self, block: int, target: int) -> None:
        for call in self.members[block]:
            self.block[call] = target
        self.members[target] += self.members[block]
        self.members[block] = []

    def reads(self) -> list[set[int]]:
        """Which blocks each block reads, as far as calls do not float."""
        found: list[set[int]] = [set() for _ in self.members]
        for block, sources in zip(self.block, self.graph.reads, strict=True):
            if block != FLOATING:
                found[block].update(self.block[source] for source in sources)
        return [sources - {block, FLOATING} for block, sources in enumerate(found)]

    def settle_floating(self) -> None:
        """What reads no block joins the first of those that read it."""
        for call in reversed(range(len(self.block))):
            if self.block[call] == FLOATING:
                first = min((self.block[reader] for reader in self.readers[call]), default=0)
                self.block[call] = first
                self.members[first].append(call)


def _merge_modules(growth: _Growing) -> dict[int, Path]:
    """The blocks of one written module each as one block; returns the paths of those that were merged, by block."""
    graph = growth.graph
    paths = {
        block: next(graph.paths[call] for call in sorted(calls) if graph.costs[call])
        for block, calls in enumerate(growth.members)
        if growth.costly[block]
    }
    inside = _by_module(paths)
    like = _with_like(graph.modules.union(graph.paths))
    reads = growth.reads()
    readers = readers_of(reads)
    joins = [block for block, calls in enumerate(growth.members) if calls and not growth.costly[block] and reads[block]]
    merged: dict[int, Path] = {}
    taken: set[int] = set()
    for module in sorted(inside, key=lambda path: (-len(path), path)):
        blocks = _with_joins(inside[module], joins, reads)
        if taken.isdisjoint(blocks) and module in like and _is_chain(blocks, reads, readers, growth):
            taken.update(blocks)
            last = max(blocks)
            merged[last] = module
            for block in blocks:
                if block != last:
                    growth._move(block, last)
    return {**{block: path for block, path in paths.items() if block not in taken}, **merged}


def _by_module(paths: dict[int, Path]) -> dict[Path, list[int]]:
    """The blocks in each module that has two or more of them, all in parts that have names, not numbers."""
    inside: dict[Path, list[int]] = {}
    for block, path in paths.items():
        for depth in range(1, len(path)):
            inside.setdefault(path[:depth], []).append(block)
    return {
        module: blocks
        for module, blocks in inside.items()
        if len(blocks) > 1 and not any(paths[block][len(module)].isdigit() for block in blocks)
    }


def _with_joins(blocks: list[int], joins: Iterable[int], reads: Sequence[Collection[int]]) -> list[int]:
    """The blocks of a module, and those of the sums that read nothing else."""
    known = set(blocks)
    return [*blocks, *(join for join in joins if known.issuperset(reads[join]))]


def _with_like(modules: Iterable[Path]) -> set[Path]:
    """The modules beside which there is one that has parts of the same names, or some of these."""
    parts: dict[Path, dict[Path, set[Path]]] = {}
    for path in modules:
        for depth in range(1, len(path)):
            parts.setdefault(path[: depth - 1], {}).setdefault(path[:depth], set()).add(path[depth:])
    return {
        one
        for beside in parts.values()
        for one, other in permutations(sorted(beside), 2)
        if beside[one] <= beside[other] or beside[other] <= beside[one]
    }


def _is_chain(
    blocks: list[int], reads: Sequence[Collection[int]], readers: Sequence[Collection[int]], growth: _Growing
) -> bool:
    """Whether all blocks but the last have one reader, among them, and most of the cost is one chain."""
    own, last = set(blocks), max(blocks)
    if any(len(readers[block]) != 1 or not own.issuperset(readers[block]) for block in own - {last}):
        return False
    costs = {block: sum(growth.graph.costs[call] for call in growth.members[block]) for block in own}
    chain = longest_path({block: own.intersection(reads[block]) for block in sorted(own)}, costs)
    return sum(costs.values()) - chain <= _MOST_BESIDE * sum(costs.values())


def _numbered(growth: _Growing, paths: dict[int, Path]) -> Grouping:
    used = [block for block, calls in enumerate(growth.members) if calls]
    number = {block: k for k, block in enumerate(used)}
    return Grouping(tuple(number[block] for block in growth.block), tuple(paths.get(block, ()) for block in used))
