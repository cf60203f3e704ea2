"""A backward pass has the blocks of its forward pass, the other way round."""

from hypothesis import given
from hypothesis import strategies as st

from fxsolve.structure.mirror import NOWHERE, mirror


@st.composite
def forward_reads(draw: st.DrawFn) -> list[list[int]]:
    """Which blocks each block reads; every one of them is read by a later one, but for the last."""
    count = draw(st.integers(2, 8))
    reads = [sorted(draw(st.sets(st.integers(0, k - 1), max_size=3))) if k else [] for k in range(count)]
    for block in range(count - 1):
        if not any(block in sources for sources in reads):
            reads[-1].append(block)
    return [sorted(sources) for sources in reads]


class Backward:
    """The calls of a backward pass as autograd runs it: it adds up a gradient as soon as there are two parts of it."""

    def __init__(self, forward: list[list[int]]) -> None:
        self.reads: list[list[int]] = []
        self.home: list[int] = []
        self.carried: list[bool] = []
        gradient: dict[int, int] = {}
        for block in reversed(range(len(forward))):
            for source in forward[block] or [NOWHERE - block]:  # an input of its own
                part = self._call([gradient[block]] if block in gradient else [], block, False)
                if source in gradient:
                    part = self._call([gradient[source], part], block, True)
                gradient[source] = part

    def _call(self, reads: list[int], home: int, is_carried: bool) -> int:
        self.reads.append(reads)
        self.home.append(home)
        self.carried.append(is_carried)
        return len(self.reads) - 1


@given(forward_reads())
def test_it_reads_what_was_read_the_other_way_round(forward: list[list[int]]) -> None:
    passed = Backward(forward)
    block = mirror(passed.reads, passed.home, passed.carried, forward)
    assert block is not None
    found = {(block[call], block[read]) for call, sources in enumerate(passed.reads) for read in sources}
    assert {pair for pair in found if pair[0] != pair[1]} == {
        (source, reader) for reader, sources in enumerate(forward) for source in sources
    }


def test_a_sum_that_several_blocks_read_belongs_to_the_one_that_made_the_value() -> None:
    """Block 2 adds up what blocks 0 and 1 give; 3 and 4 read it, and no call differentiates a sum."""
    forward = [[], [], [0, 1], [2], [2]]
    reads = [[], [], [0, 1], [2], [2]]
    assert mirror(reads, (4, 3, 3, 1, 0), (False, False, True, False, False), forward) == (4, 3, 2, 1, 0)


def test_what_differentiates_no_block_belongs_to_its_only_reader() -> None:
    assert mirror([[], [0]], (NOWHERE, 1), (False, False), [[], [0]]) == (1, 1)
    assert mirror([[], [0], [0]], (NOWHERE, 1, 0), (False, False, False), [[], [0]]) is None


def test_a_call_that_reads_what_comes_later_is_refused() -> None:
    assert mirror([[], [0]], (0, 1), (False, False), [[], [0]]) is None
