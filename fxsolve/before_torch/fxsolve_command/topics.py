"""`fxsolve help`: the documents that lie in fxsolve/docs, printed."""

import sys
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown


class UnknownTopicError(Exception):
    """There is no document of that name."""


def documents() -> dict[str, Path]:
    """The documents by topic. The package is looked up, not imported."""
    spec = find_spec("fxsolve")
    assert spec is not None
    assert spec.origin is not None
    return {path.stem: path for path in sorted((Path(spec.origin).parent / "docs").glob("*.md"))}


def show(topic: str | None) -> None:
    """Print one document, or the list of all. Raises `UnknownTopicError`."""
    found = documents()
    if topic is None:
        _print("\n".join(["# Topics", "", *(f"- **{name}**: {_title(path)}" for name, path in found.items())]))
    elif topic not in found:
        close = get_close_matches(topic, found, 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UnknownTopicError(f"there is no topic {topic!r}; {meant}topics are {', '.join(found)}")
    else:
        _print(found[topic].read_text(encoding="utf-8"))


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _print(text: str) -> None:
    """Laid out on a terminal; as it stands in the file anywhere else."""
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text.rstrip("\n"))
