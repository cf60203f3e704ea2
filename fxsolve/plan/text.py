"""Schedules as text: gs(block0, jacobi(cell[0:784]), block1).

    schedule = "gs" "(" [schedule {"," schedule}] ")" | method "(" steps {"," option} ")" | leaf | name ".." name
             | ("jacobi" | "levels") "(" row {"," row} {"," option} ")"
             | "jacobi" "(" "gs" "(" name "[" a ":" b ":" length "]" ")" {"," option} ")"
             | ("fixed_point" | "while") "(" leaf {"," option} ")"
    leaf     = name ["[" a ":" b "]"] ["(" schedule {"," schedule} ")"]
    row      = name | name ".." name | "gs" "(" (name | name ".." name) {"," (name | name ".." name)} ")"
    method   = "jacobi" | "incremental" | "newton" | "picard" | "scan" | "levels" | "sum" | "fixed_point" | "fused"
             | "while"
    steps    = name ["[" a ":" b [":" length] "]"]
    option   = ("atol" | "rtol" | "max_sweeps" | "window" | "lookahead" | "levels" | "depth" | "unroll" | "ahead") "="
               number
             | "jacobian" "=" ("full" | "diagonal") | "samples" "=" size {":" size}

A name without a range is a block, or all steps of a repeat in order: where these are all the same map, they may end at
its fixed point, while `cell[0:784]` runs each of them. `cell[a:b:length]` stands for a run of one method over adjacent
chunks of `length` steps, of which the last may be shorter; inside `jacobi(gs(...))` for chunks that are all
run at once, the steps of each in order. `samples=8:4` lets sweeps go on with 8, then 4 samples of a batch, where no
more are left that have not settled. In parentheses behind a repeat is how loops in its steps are solved, at every
step in the same way: `layers[0:64](jacobi(inputs[0:100]), cell[0:100])`. `while(loop0)` runs the steps of a repeat that
stops on a value, which has no other schedule; with `ahead=4`, four of them in each compiled call.

`jacobi` and `levels` of blocks are over the layers that straight-line code is written as: `jacobi(a, gs(b, c))` sweeps
two equations, the second of them two blocks in order. `layer1..layer6` are six blocks that count up at their end, or
down the other way round; `layer1` is `block0.stage2.layer1` where no other name of the forward pass ends so.
"""

from collections.abc import Collection
from typing import Any

from fxsolve.ir.nested import every_repeat, loops_inside, with_loops_inside
from fxsolve.ir.spec import Lag, Prefix, Repeat, System
from fxsolve.lower.batch import is_short
from fxsolve.plan.causality import reads_buffer
from fxsolve.plan.complete import complete, in_order, in_order_around, names
from fxsolve.plan.method import Part, whole
from fxsolve.plan.methods import METHODS, Methods
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.sums import Sum, may_reorder
from fxsolve.plan.parse import parse
from fxsolve.plan.schedule import GaussSeidel, Schedule, map_parts
from fxsolve.plan.straight import everywhere as everywhere_straight
from fxsolve.plan.tolerance import stop_of
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers.stop import Stop


def parse_schedule(text: str, system: System, stop: Stop | None = None, methods: Methods = METHODS) -> Schedule:
    """Read a schedule, and complete it with the equations of `system` that it does not name, run sequentially.

    `gs` alone runs everything sequentially; the name of a method alone applies it to every repeat whose steps read
    one another, and sweeps the others once; what is only added up is added up at once, where `stop`, or the test of its
    dtype, allows another order. Where a step runs loops whose steps read one another, it applies to these, but to the
    loop around where that fills a buffer which it reads, and they are short. Raises `ScheduleError` that shows the
    position.
    """
    name = text.strip()
    if name == "gs":
        return complete(GaussSeidel(()), system)
    everywhere = next((method for method in methods if method.by_name and method.name == name), None)
    if everywhere is not None:
        loops = {repeat.name: _everywhere(everywhere, repeat, stop) for repeat in system.repeats}
        blocks = {next(names(one)): one for one in everywhere_straight(system, name)}
        items = {**loops, **blocks}
        return complete(GaussSeidel(tuple(items[e.name] for e in system.equations if e.name in items)), system)
    sums = [repeat.name for repeat in every_repeat(system) if is_sum(repeat)] if "scan" in name else []
    return complete(map_parts(parse(text, system, methods), lambda part: _renewed(part, sums)), system)


def _everywhere(method: Any, repeat: Repeat, stop: Stop | None) -> Schedule:
    if repeat.until is not None:
        return in_order(repeat)
    if is_sum(repeat):
        return Sum(whole(repeat)) if may_reorder(repeat, stop or stop_of(repeat)) else whole(repeat)
    carries = any(isinstance(read, (Lag, Prefix)) for one in with_loops_inside(repeat) for read in one.reads)
    inside = loops_inside(repeat)
    if carries and inside and not (reads_buffer(repeat) and all(map(is_short, inside))):
        return in_order_around(repeat, tuple(_everywhere(method, inner, stop) for inner in inside))
    return method(whole(repeat)) if carries else Jacobi(whole(repeat))


def _renewed(part: Part, sums: Collection[str]) -> Part:
    """What older texts mean: `scan` was the name of a sum too."""
    return Sum(part.child) if isinstance(part, Scan) and part.child.repeat in sums else part
