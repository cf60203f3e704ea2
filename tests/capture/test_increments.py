"""Which code reads an attribute only to add to it."""

import dis
import sys
from typing import Any

import pytest

from fxsolve.capture.effects.increments import Increment, find_increment


def increments(source: str) -> list[Increment | None]:
    """What is found for each load of `n` in a function of `self`, `other`, `k` and `x`."""
    space: dict[str, Any] = {}
    exec(f"def program(self, other, k, x):\n    {source}\n", space)
    code = space["program"].__code__
    loads = [one.offset for one in dis.get_instructions(code) if one.opname == "LOAD_ATTR" and one.argval == "n"]
    return [find_increment(code, offset, "n") for offset in loads]


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("self.n += 1", 1),
        ("self.n -= 2", -2),
        ("self.n = self.n + 0.5", 0.5),
        ("self.n = self.n - 1000", -1000),
        ("self.n += k", None),
        ("self.n += len(x)", None),
        ("self.n += sum(x, start=2)", None),
        ("self.n += x.shape[0] * k - 1", None),
        ("self.a.b.n += x.size(0)", None),
        ("self.a.n = self.a.n + max(k, -x.y)", None),
        ("self.n += k > 2", None),
        ("other.n = self.n + 1", 1),  # that this is another object is seen when it is stored
    ],
)
def test_a_number_that_is_added_to_is_seen_by_nothing_else(source: str, number: Any) -> None:
    (found,) = increments(source)
    assert found is not None
    assert found.number == number


@pytest.mark.parametrize(
    "source",
    [
        "self.n", "return self.n", "k = self.n", "k = self.n + 1", "x[0] = self.n + 1", "self.m = self.n + 1",
        "self.n = 1 + self.n", "self.n = k + self.n", "self.n = self.n * 2", "self.n *= 2", "self.n |= 1",
        "self.n = -self.n", "self.n = self.n + 1 + 1", "self.n = (self.n + 1) % 5", "self.n = abs(self.n + 1)",
        "self.n = k = self.n + 1", "k = self.n = self.n + 1", "self.n = (k := self.n + 1)",
        "self.n = (k := self.n) + 1",
        "self.n += 1 if k else 2", "self.n += k and 1", "self.n = not self.n",
        "self.n[0] += 1", "self.n.m += 1", "self.n()", "self.n(1)", "x(self.n)", "x(self.n + 1)", "f'{self.n}'",
        "k = self.n + 1,", "self.n, k = self.n + 1, 2", "self.n = [self.n + 1]", "del x[self.n]",
        "self.n = x[self.n + 1]", "if self.n: pass", "k = self.n < 3", "k = self.n is None", "k = self.n in x",
        "self.n = yield self.n", "self.n += (yield)", "self.n += [k for k in x][0]",
    ],
)  # fmt: skip
def test_a_number_that_something_else_may_see_is_not_only_added_to(source: str) -> None:
    assert increments(source) in ([None], [])


def test_a_sum_in_a_branch_is_stored_there_or_after_a_jump() -> None:
    # Python 3.12 stores in each branch for itself; before, a jump that is not followed leads from the sum to the store.
    (found,) = increments("self.n = self.n + 1 if k else 0")
    assert (found and found.number) == (1 if sys.version_info >= (3, 12) else None)


def test_of_two_loads_in_one_sum_the_second_is_read() -> None:
    first, second = increments("self.n = self.n + self.n")
    assert first is not None
    assert second is None
    first, second = increments("self.n += self.n")
    assert first is not None
    assert second is None
    assert increments("self.n += self.n + 1")[1] is None


def test_other_attributes_and_places_in_code_are_no_increments() -> None:
    code = compile("self.n += 1", "program", "exec")
    loads = [one.offset for one in dis.get_instructions(code) if one.opname == "LOAD_ATTR"]
    assert find_increment(code, loads[0], "n") is not None
    assert find_increment(code, loads[0], "m") is None
    assert find_increment(code, loads[0] - 2, "n") is None
    assert find_increment(code, 10_000, "n") is None
