"""What the compiler makes of a row, as text: the system, the schedule of every method, and the code run in order."""

import re
from collections.abc import Iterator

from torch import fx

from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError
from fxsolve.ir.text import system_text
from fxsolve.loops.partition import Partition
from fxsolve.plan.decision import Decision
from fxsolve.solvers.loop import Loop
from fxsolve.stages import emit, emit_passes, schedule
from tests.goldens import with_few_digits, without_paths

METHODS = ("jacobi", "newton", "scan")


def text_of(result: tuple[Program, Partition] | CaptureError) -> str:
    """All stages of the first call of a row, without what depends on the machine or on where the files lie."""
    if isinstance(result, CaptureError):
        return f"left alone: {without_paths(str(result))}\n"
    program, parts = result
    stages = [_recorded(program), "", "system", system_text(parts.system)]
    stages += [f"note: {note}" for note in parts.notes]
    if parts.system.repeats:
        decision = schedule(program, parts, "gs", "eager")
        stages += ["", "schedules", *_schedules(program, parts, str(decision.schedule)), ""]
        stages += _code(program, parts, decision)
    return with_few_digits(without_paths("\n".join([*stages, ""])))


def _recorded(program: Program) -> str:
    ops = sum(node.op == "call_function" for node in program.module.graph.nodes)
    return f"recorded: ops {ops}, draws {len(program.draws)}, guards {len(program.guards)}"


def _schedules(program: Program, parts: Partition, in_order: str) -> Iterator[str]:
    """The schedule of each method where it is another than that in order, and why it does not fit a loop."""
    yield f"gs: {in_order}"
    for method in METHODS:
        decision = schedule(program, parts, method, "eager")
        text = str(decision.schedule)
        yield f"{method}: {'in order' if text == in_order else text}"
        yield from (f"  {note}" for note in decision.notes)


def _code(program: Program, parts: Partition, decision: Decision) -> Iterator[str]:
    if program.backward is None:
        yield from _functions("forward", emit(program, parts, decision).module)
        return
    passes = emit_passes(program, parts, decision)
    yield from _functions("forward", passes.forward.module)
    yield from _functions("backward", passes.backward)


def _functions(name: str, module: fx.GraphModule) -> Iterator[str]:
    """The steps of its loops, those inside them included, then the module itself, as functions."""
    for child in module.children():
        loop = next((part for part in child.modules() if isinstance(part, Loop)), None)
        if loop is not None and isinstance(loop.body, fx.GraphModule):
            yield f"# {loop.extra_repr()}, stacked={loop.stacked}, last={loop.last}"
            yield from _functions(loop.name, loop.body)
    code = re.sub(r"def forward\(self(, )?", f"def {name}(", module.code)
    for line in code.splitlines():
        if line.strip() and ".wrap(" not in line:
            yield re.sub(r";  [\w. =]+ = None", "", line)  # the values that torch.fx frees behind a line
    yield ""
