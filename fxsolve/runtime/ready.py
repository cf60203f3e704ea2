"""A checked module and what a call of it needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.codegen.emit import Emitted
from fxsolve.runtime.trial import plain_torch
from fxsolve.scheduler.decision import Decision
from fxsolve.tracer.generators import address_of
from fxsolve.tracer.mutations import Effects, effects_of, restore_aliases, write
from fxsolve.tracer.noise import generator_of
from fxsolve.tracer.output import rebuild
from fxsolve.tracer.program import Draw, Guard, Output, Program, attribute_of


@dataclass(frozen=True)
class Watched:
    """A tensor whose values a proof rested on, as they were then."""

    tensor: Tensor
    version: int
    address: int

    def has_changed(self) -> bool:
        return self.tensor._version != self.version or self.tensor.data_ptr() != self.address


@dataclass(frozen=True)
class Ready:
    """An emitted module, the draws that it wants, how to rebuild the result, its guards, and what it rests on."""

    emitted: Emitted
    draws: tuple[Draw, ...]
    output: Output
    guards: tuple[Guard, ...]
    generators: tuple[torch.Generator, ...]
    watched: tuple[Watched, ...]
    effects: Effects

    def run(self, tensors: tuple[Tensor, ...]) -> Any:
        """The program's return value for new inputs, with fresh draws, and its side effects on tensors.

        Raises `GuardError`; nothing has been written then.
        """
        with plain_torch():
            noise = self.emitted.fresh_noise(self.draws)
            outputs = write(self.effects, tensors, self.emitted.module(*tensors, *noise))
        # In the caller's grad mode: a view that is made under no_grad cannot be written into outside of it.
        return rebuild(self.output, restore_aliases(self.effects, tensors, outputs))

    def rewinder(self) -> Callable[[], None]:
        """A function that puts the generators of the draws back to where they are now."""
        return rewinder(self.generators)

    def is_stale(self) -> bool:
        """Whether a tensor that a proof rested on was written to since."""
        return any(watched.has_changed() for watched in self.watched)


def rewinder(generators: Iterable[torch.Generator]) -> Callable[[], None]:
    """A function that puts `generators` back to where they are now."""
    states = [(generator, generator.get_state()) for generator in generators]

    def rewind() -> None:
        for generator, state in states:
            generator.set_state(state)

    return rewind


def make_ready(program: Program, decision: Decision, emitted: Emitted) -> Ready:
    """What has to be kept of a recorded program to run it again; no example tensor is."""
    watched = tuple(Watched(tensor, tensor._version, tensor.data_ptr()) for tensor in _proof_tensors(program, decision))
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
    return tuple({address_of(generator): generator for generator in used}.values())
