"""Whether an emitted module may stand in for the program: it gives the recorded result, and not more slowly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.backward.boundary import BoundedResults
from fxsolve.capture.effects.mutations import effects_of, rewound, separate, write
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.economy.clock import timed
from fxsolve.runtime.gradients import Differentiable, Original
from fxsolve.runtime.modes import as_written, plain_torch
from fxsolve.runtime.nodes import run

_RUNS = 5
_RUNS_BEFORE_CALLS = 2  # where the user's own calls decide what is close
_CHEAP_SECONDS = 0.5  # a program faster than this is timed twice at least, a slower one until it is clear
_CLOSE = 1.5  # two times within this factor are taken again
_BRIEF = 1e-3  # as many seconds cost nothing beside all else that a first call does


def run_example(emitted: Emitted | Differentiable, program: Program) -> tuple[tuple[Tensor, ...], float]:
    """What the module gives for the recorded inputs, draws and cotangents, and the seconds, side effects included."""
    with plain_torch(), rewound(program, program.example.inputs):
        return timed(lambda: _run_example(emitted, program))


def _run_example(emitted: Emitted | Differentiable, program: Program) -> tuple[Tensor, ...]:
    inputs, effects = program.example.inputs, effects_of(program)
    noise = emitted.noise_inputs(program.example.noise)
    if isinstance(emitted, Emitted):
        outputs, gradients = emitted.module(*inputs, *noise), ()
    else:
        outputs, saved = emitted.solve(inputs, noise)
        derivatives = emitted.differentiate(saved, program.example.cotangents)
        gradients = (*derivatives.gradients, *derivatives.totals)
    outputs = separate(effects, inputs, outputs)
    write(effects, inputs, outputs)
    return (*outputs, *(gradient for gradient in gradients if gradient is not None))


def time_emitted(emitted: Emitted | Differentiable, program: Program, original: Original) -> float:
    """Run what was emitted once, with draws of its own, its backward pass as autograd calls it; returns the seconds."""
    with plain_torch():
        drawing = timed(lambda: emitted.fresh_noise(program.draws))[1]
    if isinstance(emitted, Emitted):
        return drawing + run_example(emitted, program)[1]
    with rewound(program, program.example.inputs):
        noise = emitted.noise_inputs(program.example.noise)
        return drawing + timed(lambda: _pass_through(emitted, program, noise, original))[1]


def _pass_through(function: Differentiable, program: Program, noise: list[Tensor], original: Original) -> None:
    backward = function.backward
    inputs = tuple(_wanted(one) if k in backward.places else one for k, one in enumerate(program.example.inputs))
    with torch.enable_grad():
        outputs = run(function, inputs, noise, original)
    results = [outputs[number] for number in backward.outputs]
    wanted = [function.at(place, inputs) for place in backward.places]
    BoundedResults(results, wanted).differentiate(wanted, program.example.cotangents)


def _wanted(given: Tensor) -> Tensor:
    """The tensor, as one that wants gradients; of an input that is written into, the example has a copy without."""
    return given if given.requires_grad else given.detach().requires_grad_()


def run_original(original: Original, program: Program, inputs: tuple[Tensor, ...]) -> float:
    """Run the program once more as if for the first time, its backward pass included; returns the seconds."""
    attributes = effects_of(program).attributes
    with as_written(), rewound(program, inputs):
        return timed(lambda: _run(original, program, attributes))[1]


def _run(original: Original, program: Program, attributes: Mapping[str, Tensor]) -> Any:
    if program.backward is None:
        return original.program(*original.args, **original.kwargs)
    return original.differentiate(program.backward, attributes, program.example.cotangents, False)


@dataclass(frozen=True)
class CallSeconds:
    """Seconds of one call each."""

    original: float
    emitted: float

    @property
    def are_clear(self) -> bool:
        """Whether another run of both would hardly change which of them is faster."""
        return not self.emitted / _CLOSE < self.original < self.emitted * _CLOSE


def race(original: Callable[[], float], emitted: Callable[[], float], calls_decide: bool) -> CallSeconds:
    """Time the module and the original, in turn, until it is clear which is faster or `calls_decide` what is not.

    Both functions run one of the two once and return the seconds that it took. Of several runs the shortest counts:
    what else goes on in the machine only adds to it. What was expected of the original decides nothing.
    """
    # Collecting what a recording left behind takes longer than most calls, and falls to whoever comes by.
    with paused_collector():
        emitted()  # finds caches that are cold
        found = CallSeconds(original(), emitted())
        for turns in range(1, _RUNS):
            if found.original > _BRIEF and _is_enough(found, turns, calls_decide):
                break
            found = CallSeconds(min(found.original, original()), min(found.emitted, emitted()))
    return found


def _is_enough(found: CallSeconds, turns: int, calls_decide: bool) -> bool:
    if calls_decide and turns >= _RUNS_BEFORE_CALLS:
        return True
    return found.are_clear and (turns > 1 or found.original > _CHEAP_SECONDS)
