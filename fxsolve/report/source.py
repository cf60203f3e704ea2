"""The line of a loop in the user's file, which is not the line of the call that was recorded in it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def loop_line(source: str) -> tuple[str, str]:
    """("file:line", its text) of the innermost `for` or `while` around the line `source`.

    The text is empty, and the line is `source` itself, where there is none: a step in a function of its own, or a file
    that is not there any more.
    """
    path, _, number = source.rpartition(":")
    if not number.isdecimal():
        return source, ""
    lines = [first for first, last in _loops(path) if first <= int(number) <= last]
    if not lines:
        return source, ""
    return f"{path}:{max(lines)}", source_line(f"{path}:{max(lines)}")


def source_line(source: str) -> str:
    """The text of the line "file:line", empty where there is none."""
    path, _, number = source.rpartition(":")
    lines = _lines(path) if number.isdecimal() else ()
    return lines[int(number) - 1].strip() if 0 < int(number or 0) <= len(lines) else ""


@cache
def _lines(path: str) -> tuple[str, ...]:
    return tuple(_text(path).splitlines())


@cache
def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@cache
def _loops(path: str) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(_spans(ast.parse(_text(path))))
    except (SyntaxError, ValueError):
        return ()


def _spans(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line of every loop."""
    for node in ast.walk(tree):
        if isinstance(node, _LOOPS):
            yield node.lineno, node.end_lineno or node.lineno
