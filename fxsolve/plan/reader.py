"""The words of a schedule, taken one by one; a slip is shown with its place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from fxsolve.errors import ScheduleError

_TOKEN = re.compile(
    r"(?P<number>\d+(\.\d*)?([eE][-+]?\d+)?)|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>[()\[\]:,=])|(?P<other>\S)"
)
_MOST_DIGITS = 18


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


@dataclass
class TextReader:
    """The tokens of `text` that are left; `known` are the equations that may be named here, for messages.

    Whatever does not fit raises `ScheduleError` with a caret below the token.
    """

    text: str
    tokens: list[Token]
    known: str

    def accept(self, kind: str) -> bool:
        """Take the next token if it is of this kind."""
        if self.tokens[0].kind != kind:
            return False
        self.tokens.pop(0)
        return True

    def take(self, kind: str, expected: str) -> Token:
        """The next token, which must be of this kind."""
        token = self.tokens[0]
        if token.kind != kind:
            self.fail(token, f"expected {expected}, found {token.text}")
        return self.tokens.pop(0)

    def ahead(self, place: int) -> Token:
        """The token so many places ahead, or the end."""
        return self.tokens[min(place, len(self.tokens) - 1)]

    def word(self, *allowed: str) -> str:
        """One of a few words."""
        token = self.take("name", one_of(allowed))
        if token.text not in allowed:
            self.fail(token, f"expected {one_of(allowed)}, found {token.text}")
        return token.text

    def whole_number(self) -> int:
        """0, 1, 2, ..."""
        token = self.take("number", "a whole number")
        if not token.text.isdigit() or len(token.text) > _MOST_DIGITS:
            self.fail(token, f"expected a whole number, found {token.text[:_MOST_DIGITS]}")
        return int(token.text)

    def count(self, thing: str) -> int:
        """1, 2, 3, ... of something."""
        token = self.tokens[0]
        number = self.whole_number()
        if number == 0:
            self.fail(token, f"expected at least one {thing}, found 0")
        return number

    def real_number(self) -> float:
        """A number without a sign."""
        return float(self.take("number", "a number").text)

    def fail(self, token: Token, what: str) -> NoReturn:
        """Raise with the text and a caret below the token."""
        shown = re.sub(r"\s", " ", self.text)
        raise ScheduleError(f"{what}\n  {shown}\n  {' ' * token.position}^\nequations: {self.known or 'none'}")


def one_of(names: Sequence[str]) -> str:
    """a, b or c."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
