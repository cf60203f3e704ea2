"""Gauss-Seidel that computes each entry of each value once, in the step behind which it is final; then sweeps."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict, evaluate
from fxsolve.solvers.jacobi import JacobiSolver
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.rounding import changed_by_rounding, steps_but_for_rounding
from fxsolve.solvers.step_order import InTurn, StepOrder
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window
from fxsolve.solvers.windows import Initial, receive, solve_windows


@dataclass(frozen=True)
class Input:
    """What a stage takes: the value number `k` that is kept, or constant, or given, or the row of table `k`.

    Of a `seen` table that is which keys the query of a step sees. Numbers `k` of all steps are a tuple.
    """

    kind: str
    k: int


class Stage(nn.Module):
    """Part of a step, which runs in some of the `steps`: body(slots...) writes what it computes into what is kept.

    Each of the `tables` (A, P) has a row for each of the A steps.
    """

    def __init__(
        self,
        body: nn.Module,
        steps: Sequence[int],
        slots: Sequence[Input],
        tables: Sequence[Tensor],
        constants: Sequence[Tensor],
        numbers: Sequence[tuple[int, ...]] = (),
    ) -> None:
        super().__init__()
        self.body = body
        self.steps = tuple(steps)
        self.slots = tuple(slots)
        self.tables = tuple(tables)
        self.constants = tuple(constants)
        self.numbers = tuple(numbers)

    @property
    def held(self) -> tuple[Tensor, ...]:
        """What a stage holds beside its code: the tables, such as which keys each step sees, and the constants."""
        return (*self.tables, *self.constants)


class StepProgram(nn.Module):
    """start(...) -> (outputs..., kept...) is the first step, which makes room for what is kept; stages are the others.

    A step of the program is a run of the `order`. `memory` is what is kept and held, in bytes; `whole` are the ops that
    are computed whole in every step.
    """

    def __init__(
        self,
        start: Stage,
        stages: Sequence[Stage],
        order: StepOrder,
        outputs: tuple[int, ...],
        memory: int,
        whole: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.start = start
        self.stages = nn.ModuleList(stages)
        self.order = order
        self.outputs = outputs
        self.memory = memory
        self.whole = whole

    def with_bodies(self, change: Callable[[nn.Module], nn.Module]) -> "StepProgram":
        """The same with the bodies of all stages changed."""
        return self.with_stages(
            lambda one: Stage(change(one.body), one.steps, one.slots, one.tables, one.constants, one.numbers)
        )

    def with_stages(self, change: Callable[[Stage], Stage]) -> "StepProgram":
        """The same with all stages but the first changed."""
        stages = [change(one) for one in self._stages()]
        return StepProgram(self.start, stages, self.order, self.outputs, self.memory, self.whole)

    def count_ops(self) -> int:
        """The calls of all stages."""
        graphs = (getattr(stage.body, "graph", None) for stage in self._stages())
        return sum(node.op.startswith("call_") for graph in graphs if graph is not None for node in graph.nodes)

    def _stages(self) -> Iterator[Stage]:
        return (stage for stage in self.stages if isinstance(stage, Stage))


@profiled
def incremental(
    loop: Loop,
    program: StepProgram,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    bounds: Sequence[int],
) -> Outputs:
    """Compute each entry once, in order, and sweep from there until the test is met: most often once.

    The first sweep tells whether F(S) = S, bit for bit or within the tolerance. Where it is not, as where rounding made
    another draw, the steps behind the first that changed are computed in order once more, from its new value; and where
    that is needed more than `_REPAIRS` times, sweeps follow as in `jacobi`, whose `bounds` these are.
    """
    stop = Stop(atol, rtol, max_sweeps)
    equations = receive(loop, initial, buffers, per_step, shared, stop, batches_between(bounds))
    values = compute_once(program, equations.window)

    def repair(state: State) -> Unknowns:
        same = steps_but_for_rounding(state)
        if same == loop.length:  # a sweep is all that a bitwise test may want: there is nothing to compute otherwise
            return state.values
        return compute_once(program, state.window, Confirmed(state.values, 1 + same))

    method = CheckedOnce(JacobiSolver(stop, starting_at(values)), repair if len(bounds) == 2 else None)
    return solve_windows("incremental", method, equations, bounds, values)


def starting_at(values: Unknowns) -> Callable[[Window], Unknowns]:
    """The start of each window, of values of all steps (T, ...)."""
    return lambda window: {number: stack[window.start : window.stop] for number, stack in values.items()}


_REPAIRS = 4


@dataclass(frozen=True)
class CheckedOnce(Method):
    """Sweeps behind values that were computed in order: one that changes no more than rounding ends them.

    Any two ways to run a program in order differ by as much; where bitwise equality is asked for, that is no end.
    Another one is of the values that `repair` makes of its own, computed in order too, a few times.
    """

    sweeps: JacobiSolver
    repair: Callable[[State], Unknowns] | None = None

    def init(self, window: Window) -> State:
        return self.sweeps.init(window)

    def step(self, state: State) -> State:
        if self.repair is None or len(state.sizes) > _REPAIRS:
            return self.sweeps.step(state)
        return evaluate(state.window, self.repair(state), self.sweeps.stop, state.sizes, None)

    def terminate(self, state: State) -> Verdict | None:
        verdict = self.sweeps.terminate(state)
        in_order = len(state.sizes) <= (1 if self.repair is None else 1 + _REPAIRS)
        is_rounding = verdict is None and in_order and changed_by_rounding(state, self.sweeps.stop)
        return "converged" if is_rounding else verdict


@dataclass(frozen=True)
class Confirmed:
    """Values of all steps, (T, ...), by number, of which the first `steps` are right."""

    values: Unknowns
    steps: int


def compute_once(program: StepProgram, window: Window, confirmed: Confirmed | None = None) -> Unknowns:
    """The outputs of all steps of a loop that steps read from one another, (T, ...), by number.

    Steps that are `confirmed` hand on their values; what a step keeps besides is computed from these.
    """
    loop, order = window.loop, program.order
    assert isinstance(order, InTurn)
    states = [deque(head.unbind(0), maxlen=len(head)) for head in window.frontier.heads]
    buffers = [buffer.clone() for buffer in window.frontier.buffers]
    arriving = [order.arriving(item) for item in window.per_step]
    runs = [StageRun(stage, len(order.runs)) for stage in program.stages]
    start = StageRun(program.start, 1)
    kept: list[Tensor] = []
    rows: list[tuple[Tensor, ...]] = []
    told = {number: order.arriving(stack) for number, stack in confirmed.values.items()} if confirmed else {}
    for t, steps in enumerate(order.runs):
        given = (*(state[0] for state in states), *buffers, *(item[t] for item in arriving), *window.given.shared)
        if t == 0:
            made = start(t, kept, given)
            rows.append(made[: len(program.outputs)])
            kept = list(made[len(program.outputs) :])
        else:
            rows.append(next(made for made in [run(t, kept, given) for run in runs][::-1] if made))
        if confirmed and steps.start < confirmed.steps:  # steps of one run read none of one another
            rows[-1] = tuple(told[number][t] for number in program.outputs)
        found = dict(zip(program.outputs, rows[-1], strict=True))
        for buffer, spec in zip(buffers, loop.buffer_specs, strict=True):
            order.write(buffer, spec, t, found[spec.output])
        for state, lag in zip(states, loop.lags, strict=True):
            state.append(found[lag.output])
    return dict(zip(program.outputs, map(order.stacked, zip(*rows, strict=True)), strict=True))


class StageRun:
    """A stage on its way through the steps."""

    def __init__(self, stage: Any, length: int) -> None:
        self._body = stage.body
        self._row = [-1] * length
        for row, step in enumerate(stage.steps):
            if step < length:
                self._row[step] = row
        self._slots = [(slot.kind, slot.k) for slot in stage.slots]
        rows = {"row": [table.unbind(0) for table in stage.tables], "number": stage.numbers}
        self._rows = {**rows, "seen": rows["row"]}
        self._constants = stage.constants

    def __call__(self, t: int, kept: list[Tensor], given: tuple[Any, ...]) -> tuple[Tensor, ...]:
        row = self._row[t]
        if row < 0:
            return ()
        pools, rows = {"kept": kept, "given": given, "constant": self._constants}, self._rows
        taken = (rows[kind][k][row] if kind in rows else pools[kind][k] for kind, k in self._slots)
        return self._body(*taken)
