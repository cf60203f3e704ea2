"""A checked module and what a call of it needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.effects.mutations import Effects, counting_nothing, effects_of, hand_on, write
from fxsolve.capture.program import Counted, Draw, Guard, Output, Program, attribute_of
from fxsolve.capture.record.backward import draw_cotangent
from fxsolve.capture.record.noise import generator_of
from fxsolve.capture.record.output import rebuild
from fxsolve.codegen.emit import Emitted
from fxsolve.plan.decision import Decision
from fxsolve.report.difference import within
from fxsolve.runtime.agreement import check_gradients
from fxsolve.runtime.gradients import Differentiable, Original
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.nodes import run
from fxsolve.solvers.solution import Solution, observe
from fxsolve.state.generators import rewinder
from fxsolve.torch_compat.tensors import address_of_generator, write_count_of


@dataclass(frozen=True)
class WatchedTensor:
    """A tensor whose values a proof rested on, how often it was written to then, and a second one on its memory.

    As long as that one lives, no other memory gets the same address.
    """

    tensor: Tensor
    version: int
    memory: Tensor

    def has_changed(self) -> bool:
        return write_count_of(self.tensor) != self.version or self.tensor.data_ptr() != self.memory.data_ptr()


def watch(tensor: Tensor) -> WatchedTensor:
    """The tensor as it is now."""
    return WatchedTensor(tensor, write_count_of(tensor), tensor.detach())


@dataclass(frozen=True)
class Ready:
    """An emitted module, the draws that it wants, how to rebuild the result, its guards, and what it rests on."""

    emitted: Emitted | Differentiable
    draws: tuple[Draw, ...]
    output: Output
    guards: tuple[Guard, ...]
    generators: tuple[torch.Generator, ...]
    watched: tuple[WatchedTensor, ...]
    effects: Effects

    def run(self, tensors: tuple[Tensor, ...], original: Original) -> Any:
        """The program's return value for new inputs, with fresh draws, and its side effects.

        `original` is the same call of the program as it was written, for derivatives of gradients. Raises `GuardError`;
        nothing has been written then.
        """
        noise: list[Tensor] = []
        if self.draws:  # a block costs a microsecond, and many a call takes some tens of them
            with plain_torch():
                noise = self.emitted.fresh_noise(self.draws)
        with observe() as solutions:
            outputs = self._solve(tensors, noise, original)
        if self.effects.mutations:
            with plain_torch():
                outputs = write(self.effects, tensors, outputs)
        # In the caller's grad mode: a view that is made under no_grad cannot be written into outside of it.
        return rebuild(_counted(self.output, solutions), hand_on(self.effects, tensors, outputs))

    def _solve(self, tensors: tuple[Tensor, ...], noise: list[Tensor], original: Original) -> tuple[Tensor, ...]:
        if isinstance(self.emitted, Differentiable):
            return run(self.emitted, tensors, noise, original)
        with plain_torch():
            return self.emitted.module(*tensors, *noise)

    def differs_in_gradients(self, tensors: tuple[Tensor, ...], original: Original, stop: float) -> bool:
        """Whether the gradients of a call are others than the program's, for cotangents drawn here.

        True also where the program cannot be run again for that. The generators are where they were, afterwards.
        """
        function = self.emitted
        if not isinstance(function, Differentiable):
            return False
        if self.effects.mutations or not self.effects.stores.only_count:
            return True
        rewind = self.rewinder()
        with plain_torch():
            outputs, saved = function.solve(tensors, function.fresh_noise(self.draws))
            cotangents = tuple(draw_cotangent(outputs[number]) for number in function.backward.outputs)
            ours = function.differentiate(saved, cotangents).gradients
        rewind()
        with counting_nothing(self.effects):
            found, _ = original.differentiate(function.backward, self.effects.attributes, cotangents, False)
        rewind()
        pairs = [pair for pair in zip(ours, found.gradients, strict=True) if pair != (None, None)]
        if any(one is None or other is None for one, other in pairs):
            return True
        return bool(pairs) and not within(check_gradients(*zip(*pairs, strict=True), stop))  # pyright: ignore

    @property
    def fault(self) -> str:
        """Why the original has to run from now on, where a backward pass has shown that; "" otherwise."""
        return self.emitted.learned.fault if isinstance(self.emitted, Differentiable) else ""

    @property
    def backward_solutions(self) -> tuple[Solution, ...]:
        """The solves of the backward pass of the latest call, if it has run."""
        return self.emitted.learned.solutions if isinstance(self.emitted, Differentiable) else ()

    def inputs(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors of a call, and what the program has kept for it."""
        return (*tensors, *self.effects.stores.tensors())

    def rewinder(self) -> Callable[[], None]:
        """A function that puts the generators of the draws back to where they are now."""
        return rewinder(self.generators)

    def is_stale(self) -> bool:
        """Whether a tensor that a proof rested on was written to since."""
        return any(watched.has_changed() for watched in self.watched)


def _counted(output: Output, solutions: list[Solution]) -> Output:
    """The result with the numbers of steps that ran."""
    if not any(isinstance(one, Counted) for one in output.constants):
        return output
    constants = tuple(
        one.first + one.each * sum(solution.sweeps for solution in solutions if solution.name == one.loop)
        if isinstance(one, Counted)
        else one
        for one in output.constants
    )
    return replace(output, constants=constants)


def make_ready(
    program: Program, decision: Decision, emitted: Emitted | Differentiable, rested: tuple[str, ...] = ()
) -> Ready:
    """What has to be kept of a recorded program to run it again; no example tensor is.

    `rested` are the attributes whose values its system rests on.
    """
    tensors = [*_proof_tensors(program, decision), *(attribute_of(program, target) for target in rested)]
    distinct = {id(tensor): tensor for tensor in tensors}.values()
    watched = tuple(map(watch, distinct))
    used, effects = generators_of(program), effects_of(program)
    return Ready(emitted, program.draws, program.output, program.guards, used, watched, effects)


def _proof_tensors(program: Program, decision: Decision) -> list[Tensor]:
    """Buffers and constants whose zeros a proof of causality rested on; none that the program itself writes into."""
    if not any(choice.causal == "proved" for choice in decision.choices):
        return []
    nodes = program.module.graph.find_nodes(op="get_attr")
    targets = [str(node.target) for node in nodes if program.roles[node.name] != "param"]
    tensors = [attribute_of(program, target) for target in targets if target not in program.example.attributes]
    return [tensor for tensor in tensors if not tensor.is_inference()]


def generators_of(program: Program) -> tuple[torch.Generator, ...]:
    """The generators that the draws use: those named in their arguments, and the default ones of their devices."""
    draws = zip(program.draws, program.example.noise, strict=True)
    used = [draw.generator or generator_of(noise.device) for draw, noise in draws]
    return tuple({address_of_generator(generator): generator for generator in used}.values())
