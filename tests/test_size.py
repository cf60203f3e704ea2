"""What the measures of the source must stay at."""

import size

PATHS = sorted((size.ROOT / "fxsolve").rglob("*.py"))


def test_no_two_classes_share_a_name() -> None:
    assert size.classes_twice(PATHS) == ["0 class names defined twice"]


def test_tables_of_ops_do_not_come_back() -> None:
    (head, *_), last = size.said_of_ops(PATHS), size.said_of_ops(PATHS)[-1]
    assert int(head.split()[0]) <= 23
    assert int(last.split()[0]) == 0


def test_every_module_is_named_by_a_test() -> None:
    (head, *_) = size.without_tests(PATHS)
    assert head.startswith("0 of ")


def test_no_file_is_too_long() -> None:
    assert [str(path) for path in PATHS if len(path.read_text().splitlines()) > size.FILE_LIMIT] == []
