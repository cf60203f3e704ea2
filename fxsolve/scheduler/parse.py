"""A recursive-descent parser for the text form of schedules; the grammar is in `text`."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from fxsolve.errors import ScheduleError
from fxsolve.scheduler.schedule import Apply, GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.solvers.stop import Stop
from fxsolve.system.spec import Block, Equation, Repeat, System

_TOKEN = re.compile(
    r"(?P<number>\d+(\.\d*)?([eE][-+]?\d+)?)|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>[()\[\]:,=])|(?P<other>\S)"
)


class _Token(NamedTuple):
    """`kind` is "number", "name", "other", "end", or the mark itself."""

    kind: str
    text: str
    position: int


def parse(text: str, system: System) -> Schedule:
    """Read a schedule as it is written; a row of chunks at the top becomes one `GaussSeidel`."""
    parser = _Parser(text, _tokens(text), {equation.name: equation for equation in system.equations})
    items = parser.schedule()
    parser.take("end", "the end")
    return items[0] if len(items) == 1 else GaussSeidel(items)


def _tokens(text: str) -> list[_Token]:
    found = [_Token(str(match.lastgroup), match.group(), match.start()) for match in _TOKEN.finditer(text)]
    marked = [token._replace(kind=token.text) if token.kind == "mark" else token for token in found]
    return [*marked, _Token("end", "the end", len(text))]


@dataclass
class _Parser:
    text: str
    tokens: list[_Token]
    equations: dict[str, Equation]

    def schedule(self) -> tuple[Schedule, ...]:
        """One schedule, or the several that a row of chunks stands for."""
        name = self.take("name", "gs(...), jacobi(...) or an equation")
        if name.text in ("gs", "jacobi"):
            self.take("(", "'('")
            return (GaussSeidel(self.children()),) if name.text == "gs" else self.jacobi()
        equation = self.equation(name)
        if isinstance(equation, Block):
            return (Apply(equation.name),)
        return (Steps(equation.name, *self.range(equation)),)

    def children(self) -> tuple[Schedule, ...]:
        if self.accept(")"):
            return ()
        items = self.schedule()
        while self.accept(","):
            items += self.schedule()
        self.take(")", "',' or ')'")
        return items

    def jacobi(self) -> tuple[Schedule, ...]:
        name = self.take("name", "a repeat")
        repeat = self.equation(name)
        if isinstance(repeat, Block):
            self.fail(name, f"{name.text} is a block and has no steps to sweep")
        start, stop, length = self.chunks(repeat)
        test = self.stop()
        self.take(")", "',' or ')'")
        starts = range(start, stop, length)
        return tuple(Jacobi(Steps(repeat.name, first, min(first + length, stop)), test) for first in starts)

    def equation(self, name: _Token) -> Equation:
        if name.text not in self.equations:
            self.fail(name, f"there is no equation {name.text!r}")
        return self.equations[name.text]

    def range(self, repeat: Repeat) -> tuple[int, int]:
        """[a:b], or all steps."""
        if not self.accept("["):
            return 0, repeat.length
        limits = self.limits(repeat)
        self.take("]", "']'")
        return limits

    def chunks(self, repeat: Repeat) -> tuple[int, int, int]:
        """[a:b:length], where a missing length means one chunk, or all steps."""
        if not self.accept("["):
            return 0, repeat.length, repeat.length
        start, stop = self.limits(repeat)
        length = stop - start
        if self.accept(":"):
            length = self.count("step")
        self.take("]", "':' or ']'")
        return start, stop, length

    def limits(self, repeat: Repeat) -> tuple[int, int]:
        first = self.tokens[0]
        start = self.whole_number()
        self.take(":", "':'")
        stop = self.whole_number()
        if not start < stop <= repeat.length:
            self.fail(first, f"steps {start}:{stop} are not inside 0:{repeat.length} of {repeat.name}")
        return start, stop

    def stop(self) -> Stop | None:
        """Options; the tolerances left out are 0, so the test is bitwise equality."""
        if self.tokens[0].kind != ",":
            return None
        found: dict[str, float | int] = {}
        while self.accept(","):
            option = self.take("name", "atol, rtol or max_sweeps")
            if option.text not in ("atol", "rtol", "max_sweeps") or option.text in found:
                self.fail(option, f"expected atol, rtol or max_sweeps, each once, found {option.text}")
            self.take("=", "'='")
            found[option.text] = self.count("sweep") if option.text == "max_sweeps" else self.real_number()
        return replace(Stop(), **found)

    def whole_number(self) -> int:
        token = self.take("number", "a whole number")
        if not token.text.isdigit():
            self.fail(token, f"expected a whole number, found {token.text}")
        return int(token.text)

    def count(self, thing: str) -> int:
        token = self.tokens[0]
        number = self.whole_number()
        if number == 0:
            self.fail(token, f"expected at least one {thing}, found 0")
        return number

    def real_number(self) -> float:
        return float(self.take("number", "a number").text)

    def accept(self, kind: str) -> bool:
        if self.tokens[0].kind != kind:
            return False
        self.tokens.pop(0)
        return True

    def take(self, kind: str, expected: str) -> _Token:
        token = self.tokens[0]
        if token.kind != kind:
            self.fail(token, f"expected {expected}, found {token.text}")
        return self.tokens.pop(0)

    def fail(self, token: _Token, what: str) -> NoReturn:
        """Raise with the text and a caret below the token."""
        shown = re.sub(r"\s", " ", self.text)
        known = ", ".join(map(_describe, self.equations.values())) or "none"
        raise ScheduleError(f"{what}\n  {shown}\n  {' ' * token.position}^\nequations: {known}")


def _describe(equation: Equation) -> str:
    return equation.name if isinstance(equation, Block) else f"{equation.name}[0:{equation.length}]"
