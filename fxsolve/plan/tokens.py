"""The words of the text form of schedules."""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<number>\d+(\.\d*)?([eE][-+]?\d+)?)|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>[()\[\]:,=])|(?P<other>\S)"
)


class Token(NamedTuple):
    """`kind` is "number", "name", "other", "end", or the mark itself."""

    kind: str
    text: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, the last of which is its end."""
    found = [Token(str(match.lastgroup), match.group(), match.start()) for match in _TOKEN.finditer(text)]
    marked = [token._replace(kind=token.text) if token.kind == "mark" else token for token in found]
    return [*marked, Token("end", "the end", len(text))]
