"""A recursive-descent parser for the text form of schedules; the grammar is in `text`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, NoReturn

from fxsolve.errors import ScheduleError
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Block, Equation, Repeat, System
from fxsolve.plan.schedule import Apply, Chunks, GaussSeidel, Jacobi, Levels, Newton, Picard, Scan, Schedule, Steps
from fxsolve.plan.tokens import Token, tokens_of
from fxsolve.solvers.stop import Stop

METHODS = {"jacobi": Jacobi, "newton": Newton, "picard": Picard, "scan": Scan, "levels": Levels}
_TEST = ("atol", "rtol", "max_sweeps")
_OPTIONS = {
    "jacobi": (*_TEST, "window", "samples"),
    "newton": (*_TEST, "jacobian"),
    "picard": _TEST,
    "scan": (),
    "levels": (),
}


def parse(text: str, system: System) -> Schedule:
    """Read a schedule as it is written; a row of chunks at the top becomes one `GaussSeidel`."""
    parser = _ScheduleParser(text, tokens_of(text), {equation.name: equation for equation in system.equations})
    items = parser.schedule()
    parser.take("end", "the end")
    return items[0] if len(items) == 1 else GaussSeidel(items)


@dataclass
class _ScheduleParser:
    text: str
    tokens: list[Token]
    equations: Mapping[str, Equation]

    def schedule(self) -> tuple[Schedule, ...]:
        """One schedule, or the several that a row of chunks stands for."""
        name = self.take("name", "gs(...), jacobi(...) or an equation")
        if name.text == "gs":
            self.take("(", "'('")
            return (GaussSeidel(self.children()),)
        if name.text in METHODS:
            self.take("(", "'('")
            return self.method(name.text)
        equation = self.equation(name)
        if isinstance(equation, Block):
            return (Apply(equation.name),)
        return (Steps(equation.name, *self.range(equation), self.inside(equation)),)

    def inside(self, repeat: Repeat) -> tuple[Schedule, ...]:
        """How loops in the steps of a repeat are solved."""
        if not self.accept("("):
            return ()
        around, self.equations = self.equations, {inner.name: inner for inner in loops_inside(repeat)}
        items = self.children()
        self.equations = around
        return items

    def children(self) -> tuple[Schedule, ...]:
        if self.accept(")"):
            return ()
        items = self.schedule()
        while self.accept(","):
            items += self.schedule()
        self.take(")", "',' or ')'")
        return items

    def method(self, method: str) -> tuple[Schedule, ...]:
        """The rest of a method: what it acts on, and its options."""
        children = [self.chunks_in_order()] if method == "jacobi" and self.tokens[0].text == "gs" else self.steps()
        options = self.options(_OPTIONS[method])
        self.take(")", "',' or ')'")
        return tuple(METHODS[method](child, **options) for child in children)

    def steps(self) -> list[Steps]:
        """name[a:b:length] as its chunks."""
        repeat = self.repeat()
        start, stop, length = self.chunks(repeat)
        return [Steps(repeat.name, first, min(first + length, stop)) for first in range(start, stop, length)]

    def chunks_in_order(self) -> Chunks:
        """gs(name[a:b:length])."""
        self.take("name", "gs")
        self.take("(", "'('")
        repeat = self.repeat()
        self.take("[", "'['")
        start, stop = self.limits(repeat)
        self.take(":", "':'")
        length = self.count("step")
        self.take("]", "']'")
        self.take(")", "')'")
        return Chunks(Steps(repeat.name, start, stop), length)

    def repeat(self) -> Repeat:
        name = self.take("name", "a repeat")
        equation = self.equation(name)
        if isinstance(equation, Block):
            self.fail(name, f"{name.text} is a block and has no steps to sweep")
        return equation

    def equation(self, name: Token) -> Equation:
        if name.text not in self.equations:
            words = ("gs", *METHODS, *self.equations)
            near = get_close_matches(name.text, words, 1) if name.text not in words else []
            self.fail(name, f"there is no equation {name.text!r}{f'; did you mean {near[0]!r}?' if near else ''}")
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

    def options(self, allowed: tuple[str, ...]) -> dict[str, Any]:
        """Options of a method; the tolerances left out are 0, so the test is bitwise equality."""
        found: dict[str, Any] = {}
        while allowed and self.accept(","):
            option = self.take("name", _one_of(allowed))
            if option.text not in allowed or option.text in found:
                self.fail(option, f"expected {_one_of(allowed)}, each once, found {option.text}")
            self.take("=", "'='")
            found[option.text] = self.value(option.text)
        test = {name: found.pop(name) for name in _TEST if name in found}
        return {**found, "stop": replace(Stop(), **test)} if test else found

    def value(self, option: str) -> Any:
        match option:
            case "max_sweeps":
                return self.count("sweep")
            case "window":
                return self.count("step")
            case "samples":
                return self.sizes()
            case "jacobian":
                return self.jacobian()
        return self.real_number()

    def jacobian(self) -> str:
        token = self.take("name", "full or diagonal")
        if token.text not in ("full", "diagonal"):
            self.fail(token, f"expected full or diagonal, found {token.text}")
        return token.text

    def sizes(self) -> tuple[int, ...]:
        """size:size:..."""
        found = [self.count("sample")]
        while self.accept(":"):
            found.append(self.count("sample"))
        return tuple(found)

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

    def take(self, kind: str, expected: str) -> Token:
        token = self.tokens[0]
        if token.kind != kind:
            self.fail(token, f"expected {expected}, found {token.text}")
        return self.tokens.pop(0)

    def fail(self, token: Token, what: str) -> NoReturn:
        """Raise with the text and a caret below the token."""
        shown = re.sub(r"\s", " ", self.text)
        known = ", ".join(map(_describe, self.equations.values())) or "none"
        raise ScheduleError(f"{what}\n  {shown}\n  {' ' * token.position}^\nequations: {known}")


def _describe(equation: Equation) -> str:
    return equation.name if isinstance(equation, Block) else f"{equation.name}[0:{equation.length}]"


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
