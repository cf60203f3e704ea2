"""Every op of a recorded program has a row in the table of facts, but for those that are listed."""

from tests.goldens import check_golden
from tests.ops.bodies import programs
from tests.ops.opaque import TABLE, without_a_row


def test_the_ops_of_the_table_that_have_no_row_are_those_that_are_listed() -> None:
    """Give a new op a row. An op that leaves the list does not come back."""
    missing = set().union(*(without_a_row(program) for _, program in programs()))
    check_golden(TABLE, "".join(f"{name}\n" for name in sorted(missing)))
