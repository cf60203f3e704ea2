"""Numbers that are affine in the length, and indices that count: what two lengths tell about a third."""

from dataclasses import astuple, dataclass

from fxsolve.errors import PartitionError


@dataclass(frozen=True)
class Lengths:
    """The two lengths at which a program was recorded, and the one that is wanted."""

    first: int
    second: int
    wanted: int

    def between(self, one: int, two: int) -> int:
        """The number at the wanted length that is `one` at the first and `two` at the second.

        As a place, a number below 0 counts from the end: what counts from the beginning at both lengths, or from the
        end, is not known at a length where it would do the other.
        """
        step, rest = divmod((two - one) * (self.wanted - self.first), self.second - self.first)
        if rest:
            raise PartitionError(f"a number is {one} at length {self.first} and {two} at length {self.second}")
        found = one + step
        if (one < 0) == (two < 0) != (found < 0):
            raise PartitionError(f"a number is {one} at length {self.first} and would be {found} at {self.wanted}")
        return found

    def count(self, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...]:
        """The index that goes on as `one` does at the first and `two` at the second length."""
        patterns = _Counting.of(one), _Counting.of(two)
        numbers = [self.between(a, b) for a, b in zip(*(astuple(pattern) for pattern in patterns), strict=True)]
        return _Counting(*numbers).index()


@dataclass(frozen=True)
class _Counting:
    """`start`, `start + distance`, ...: `size` numbers, each `held` times, and all of this `rounds` times over."""

    start: int
    distance: int
    size: int
    held: int
    rounds: int

    @staticmethod
    def of(index: tuple[int, ...]) -> "_Counting":
        held = next((k for k, value in enumerate(index) if value != index[0]), len(index))
        steps = index[::held]
        again = next((k for k, value in enumerate(steps) if k > 0 and value == steps[0]), len(steps))
        distance = steps[1] - steps[0] if again > 1 else 1
        found = _Counting(index[0], distance, again, held, len(steps) // again)
        if found.index() != index:
            raise PartitionError("an index does not count evenly")
        return found

    def index(self) -> tuple[int, ...]:
        once = [self.start + k * self.distance for k in range(self.size) for _ in range(self.held)]
        return tuple(once * self.rounds)
