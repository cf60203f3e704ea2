"""A recursive-descent parser for the text form of schedules; the grammar is in `text`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Block, Equation, Repeat, System
from fxsolve.plan.block_names import full_name, names_between
from fxsolve.plan.complete import in_order, in_order_around
from fxsolve.plan.method import Chunks, Iterative, MethodNode, Steps, is_required
from fxsolve.plan.methods import Methods
from fxsolve.plan.reader import TextReader, Token, one_of, tokens_of
from fxsolve.plan.schedule import BLOCK_METHODS, Apply, BlockMethod, GaussSeidel, JacobiBlocks, Schedule
from fxsolve.solvers.stop import Stop

_DEEPEST = 64
_TEST = ("atol", "rtol", "max_sweeps")


def parse(text: str, system: System, methods: Methods) -> Schedule:
    """Read a schedule as it is written; a row of chunks at the top becomes one `GaussSeidel`."""
    equations = {equation.name: equation for equation in system.equations}
    reader = TextReader(text, tokens_of(text), _described(equations))
    _check_depth(reader)
    parser = _ScheduleParser(reader, equations, {method.name: method for method in methods})
    items = parser.schedule()
    reader.take("end", "the end")
    return items[0] if len(items) == 1 else GaussSeidel(items)


def _check_depth(reader: TextReader) -> None:
    depth = 0
    for token in reader.tokens:
        depth += (token.kind == "(") - (token.kind == ")")
        if depth > _DEEPEST:
            reader.fail(token, f"more than {_DEEPEST} schedules inside of one another")


@dataclass
class _ScheduleParser:
    reader: TextReader
    equations: Mapping[str, Equation]
    methods: Mapping[str, type[MethodNode]]

    def schedule(self) -> tuple[Schedule, ...]:
        """One schedule, or the several that a row of chunks stands for."""
        name = self.reader.take("name", "gs(...), jacobi(...) or an equation")
        if name.text == "gs":
            self.reader.take("(", "'('")
            return (GaussSeidel(self.children()),)
        if name.text in self.methods:
            self.reader.take("(", "'('")
            over_blocks = next((kind for kind in BLOCK_METHODS if kind.name == name.text), None)
            if over_blocks is not None and self.is_over_blocks():
                return (self.block_method(over_blocks),)
            return self.method(self.methods[name.text])
        if ".." in name.text:
            return tuple(Apply(block) for block in self.blocks_between(name))
        equation = self.equation(name)
        if isinstance(equation, Block):
            return (Apply(equation.name),)
        if self.reader.tokens[0].kind == "[":
            return (Steps(equation.name, *self.range(equation), self.inside(equation)),)
        inside = self.inside(equation)
        return (in_order_around(equation, inside) if inside else in_order(equation),)

    def inside(self, repeat: Repeat) -> tuple[Schedule, ...]:
        """How loops in the steps of a repeat are solved."""
        if not self.reader.accept("("):
            return ()
        around, known = self.equations, self.reader.known
        self.equations = {inner.name: inner for inner in loops_inside(repeat)}
        self.reader.known = _described(self.equations)
        items = self.children()
        self.equations, self.reader.known = around, known
        return items

    def children(self) -> tuple[Schedule, ...]:
        if self.reader.accept(")"):
            return ()
        items = self.schedule()
        while self.reader.accept(","):
            items += self.schedule()
        self.reader.take(")", "',' or ')'")
        return items

    def is_over_blocks(self) -> bool:
        """Whether blocks come next, or a row of them, and not steps of a repeat."""
        first = self.reader.ahead(2 if self.reader.ahead(0).text == "gs" else 0).text
        return isinstance(self.equations.get(full_name(first.partition("..")[0], self.equations)), Block)

    def block_method(self, method: type[BlockMethod]) -> BlockMethod:
        """The rest of a method over blocks: blocks, and rows of them, and the stop test of one that sweeps."""
        first, items = self.reader.ahead(0), self.block_row()
        while self.reader.ahead(0).kind == "," and self.reader.ahead(2).kind != "=":
            self.reader.take(",", "','")
            items += self.block_row()
        if len(items) == 1 and isinstance(items[0], Apply):
            self.reader.fail(first, f"{first.text} is a block and has no steps to sweep")
        options = self.stop_test() if method is JacobiBlocks else {}
        self.reader.take(")", "',' or ')'")
        return method(items, **options)

    def block_row(self) -> tuple[Apply | GaussSeidel, ...]:
        first = self.reader.tokens[0]
        items = self.schedule()
        for item in items:
            if not isinstance(item, Apply) and not (isinstance(item, GaussSeidel) and item.is_row):
                self.reader.fail(first, f"expected blocks, or blocks in gs(...), found {item}")
        return items  # pyright: ignore[reportReturnType]

    def blocks_between(self, ends: Token) -> list[str]:
        """a..b."""
        first, _, last = ends.text.partition("..")
        found = names_between(*(self.equation(ends._replace(text=end)).name for end in (first, last)))
        if not found:
            self.reader.fail(ends, f"{first} does not count up or down to {last} by the number at its end")
        for name in found:
            if not isinstance(self.equation(ends._replace(text=name)), Block):
                self.reader.fail(ends, f"{name} is no block")
        return found

    def method(self, method: type[MethodNode]) -> tuple[Schedule, ...]:
        """The rest of a method: what it acts on, and its options."""
        if method.chunked and self.reader.tokens[0].text == "gs":
            children = [self.chunks_in_order()]
        else:
            children = self.steps(method.in_order)
        options = self.options(method)
        self.reader.take(")", "',' or ')'")
        make: Any = method
        return tuple(make(child, **options) for child in children)

    def steps(self, in_order: bool) -> list[Steps]:
        """name[a:b:length] as its chunks; all steps in order may say how the loops inside of them are solved."""
        repeat = self.repeat()
        start, stop, length = self.chunks(repeat)
        if in_order and self.reader.tokens[0].kind == "(":
            return [Steps(repeat.name, start, stop, self.inside(repeat))]
        return [Steps(repeat.name, first, min(first + length, stop)) for first in range(start, stop, length)]

    def chunks_in_order(self) -> Chunks:
        """gs(name[a:b:length])."""
        self.reader.take("name", "gs")
        self.reader.take("(", "'('")
        repeat = self.repeat()
        self.reader.take("[", "'['")
        start, stop = self.limits(repeat)
        self.reader.take(":", "':'")
        length = self.reader.count("step")
        self.reader.take("]", "']'")
        self.reader.take(")", "')'")
        return Chunks(Steps(repeat.name, start, stop), length)

    def repeat(self) -> Repeat:
        name = self.reader.take("name", "a repeat")
        equation = self.equation(name)
        if isinstance(equation, Block):
            self.reader.fail(name, f"{name.text} is a block and has no steps to sweep")
        return equation

    def equation(self, name: Token) -> Equation:
        name = name._replace(text=full_name(name.text, self.equations))
        if name.text not in self.equations:
            words = ("gs", *self.methods, *self.equations)
            near = get_close_matches(name.text, words, 1) if name.text not in words else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.reader.fail(name, f"there is no equation {name.text!r}{hint}")
        return self.equations[name.text]

    def range(self, repeat: Repeat) -> tuple[int, int]:
        """[a:b]."""
        self.reader.take("[", "'['")
        limits = self.limits(repeat)
        self.reader.take("]", "']'")
        return limits

    def chunks(self, repeat: Repeat) -> tuple[int, int, int]:
        """[a:b:length], where a missing length means one chunk, or all steps."""
        if not self.reader.accept("["):
            return 0, repeat.length, repeat.length
        start, stop = self.limits(repeat)
        length = stop - start
        if self.reader.accept(":"):
            length = self.reader.count("step")
        self.reader.take("]", "':' or ']'")
        return start, stop, length

    def limits(self, repeat: Repeat) -> tuple[int, int]:
        first = self.reader.tokens[0]
        start = self.reader.whole_number()
        self.reader.take(":", "':'")
        stop = self.reader.whole_number()
        if not start < stop <= repeat.length:
            self.reader.fail(first, f"steps {start}:{stop} are not inside 0:{repeat.length} of {repeat.name}")
        return start, stop

    def options(self, method: type[MethodNode]) -> dict[str, Any]:
        """Options of a method; the tolerances left out are 0, so the test is bitwise equality."""
        own = {option.name: option for option in method.options}
        allowed = (*(_TEST if issubclass(method, Iterative) else ()), *own)
        found: dict[str, Any] = {}
        while allowed and self.reader.accept(","):
            name = self.reader.take("name", one_of(allowed))
            if name.text not in allowed or name.text in found:
                self.reader.fail(name, f"expected {one_of(allowed)}, each once, found {name.text}")
            self.reader.take("=", "'='")
            found[name.text] = own[name.text].read(self.reader) if name.text in own else self.tested(name.text)
        for option in method.options:
            if is_required(method, option) and option.name not in found:
                self.reader.fail(self.reader.tokens[0], f"{method.name}(...) needs {option.name}=")
        test = {name: found.pop(name) for name in _TEST if name in found}
        return {**found, "stop": replace(Stop(), **test)} if test else found

    def stop_test(self) -> dict[str, Any]:
        """The options of a method that has a stop test and no others."""
        found: dict[str, Any] = {}
        while self.reader.accept(","):
            name = self.reader.take("name", one_of(_TEST))
            if name.text not in _TEST or name.text in found:
                self.reader.fail(name, f"expected {one_of(_TEST)}, each once, found {name.text}")
            self.reader.take("=", "'='")
            found[name.text] = self.tested(name.text)
        return {"stop": replace(Stop(), **found)} if found else {}

    def tested(self, option: str) -> int | float:
        """The value of an option of the stop test."""
        return self.reader.count("sweep") if option == "max_sweeps" else self.reader.real_number()


def _described(equations: Mapping[str, Equation]) -> str:
    return ", ".join(map(_describe, equations.values()))


def _describe(equation: Equation) -> str:
    return equation.name if isinstance(equation, Block) else f"{equation.name}[0:{equation.length}]"
