"""Emitted passes as functions of tensors: the gradients of one call, by the emitted backward or by the original."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx

from fxsolve.capture.backward.boundary import BoundedResults
from fxsolve.capture.effects.mutations import Effects, effects_of, separate
from fxsolve.capture.program import Backward, Draw, Program
from fxsolve.capture.record.output import flatten_result
from fxsolve.codegen.passes import EmittedPasses
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.runtime.modes import as_written
from fxsolve.solvers.solution import Solution
from fxsolve.torch_compat.trees import pytree

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]


Some = Literal["left out", "zeros", "original"]  # what stands for the cotangents that there are not


class Derivatives(NamedTuple):
    """The gradients of the places of a `Backward`, and the totals of its inner outputs."""

    gradients: Gradients
    totals: Gradients


@dataclass(frozen=True)
class Original:
    """A call of the program as it was written."""

    program: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """What the program returns."""
        return self.program(*self.args, **self.kwargs)

    def differentiate(
        self, backward: Backward, attributes: Mapping[str, Tensor], cotangents: Gradients, create_graph: bool
    ) -> tuple[Derivatives, Tensors]:
        """Run it, and its own backward pass; returns its outputs too.

        With `create_graph` the derivatives can be differentiated again.
        """
        with as_written(), torch.enable_grad():
            _, outputs = flatten_result(self.program(*self.args, **self.kwargs))
        tensors = [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]
        places = [tensors[place] if isinstance(place, int) else attributes[place] for place in backward.places]
        # Behind the results are the tensors that the program keeps; one that does runs again to be timed only.
        inner = [backward.outputs[one.cotangent] for one in backward.inner]
        wanted = [*places, *(outputs[number] for number in inner if number < len(outputs))]
        numbered = zip(backward.outputs, cotangents, strict=True)
        chosen = [(outputs[k], given) for k, given in numbered if k < len(outputs) and given is not None]
        if not chosen:
            return Derivatives((None,) * len(places), (None,) * len(backward.inner)), outputs
        results, given = zip(*chosen, strict=True)
        found = BoundedResults(results, places).differentiate(wanted, given, create_graph)
        return Derivatives(found[: len(places)], found[len(places) :]), outputs


@dataclass
class Learned:
    """What calls have shown of a program.

    `solutions` are the solves of the latest backward pass, `writes` tells that callers write into what it returns, and
    `some` how the gradients for some of the cotangents are found. `layouts` tells of the strides of cotangents whether
    the backward pass can read them as they are. `fault` tells of an error that the program does not raise.
    """

    solutions: tuple[Solution, ...] = ()
    writes: bool = False
    some: dict[frozenset[int], Some] = field(default_factory=dict)
    layouts: dict[tuple[tuple[int, ...] | None, ...], bool] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Differentiable:
    """Two emitted passes and how autograd is to see them.

    `cotangents` are laid out as the recorded ones, and gradients and totals as the `found` ones. Of the tensors that a
    call may read, the program's own backward pass reads those with the numbers `needed`. `is_repeatable` says whether
    the program gives the same when it runs again.
    """

    passes: EmittedPasses
    backward: Backward
    cotangents: tuple[TensorSpec, ...]
    found: tuple[TensorSpec, ...]
    needed: tuple[int, ...]
    effects: Effects
    is_repeatable: bool
    learned: Learned = field(default_factory=Learned)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The cotangents of the outputs that share a node, those of inner outputs before those of their followers."""
        return tuple(_groups(self))

    @property
    def module(self) -> fx.GraphModule:
        """The forward pass."""
        return self.passes.forward.module

    def noise_inputs(self, drawn: Tensors) -> list[Tensor]:
        """As those of an `Emitted`."""
        return self.passes.forward.noise_inputs(drawn)

    def fresh_noise(self, draws: tuple[Draw, ...]) -> list[Tensor]:
        """As those of an `Emitted`."""
        return self.passes.forward.fresh_noise(draws)

    def at(self, place: int | str, tensors: Tensors) -> Tensor:
        """The tensor at a place, in a call with these inputs."""
        return tensors[place] if isinstance(place, int) else self.effects.attributes[place]

    def solve(self, tensors: Tensors, noise: list[Tensor]) -> tuple[Tensors, Tensors]:
        """The forward pass: its outputs, and what the backward pass wants of it."""
        values = self.module(*tensors, *noise)
        return values[: self.passes.results], separate(self.effects, tensors, values[self.passes.results :])

    def differentiate(self, saved: Tensors, cotangents: Gradients) -> Derivatives:
        """The backward pass, with zeros for cotangents that are None; what depends on none of the others is None."""
        pairs = zip(cotangents, self.cotangents, strict=True)
        given = [zeros_of(spec) if one is None else one for one, spec in pairs]
        return self._sort(self.passes.backward(*saved, *given), present_in(cotangents))

    def differentiate_some(self, saved: Tensors, cotangents: Gradients) -> Derivatives:
        """As `differentiate`, by a backward pass that has no calls for cotangents that are None.

        Raises `PartitionError` where there is none.
        """
        present = present_in(cotangents)
        some = self.passes.backward_for(present)
        given = (one for one in cotangents if one is not None)
        left = dict(zip(some.left, some.backward(*saved, *given), strict=True))
        zeros = (zeros_of(spec) if k not in left else left[k] for k, spec in enumerate(self.found))
        return self._sort(tuple(zeros), present)

    def _sort(self, results: Tensors, present: frozenset[int]) -> Derivatives:
        found = iter(results)
        gradients = [None if number is None else next(found) for number in self.backward.gradients]
        totals = zip(self.backward.inner, found, strict=True)
        return Derivatives(
            tuple(one if ways & present else None for one, ways in zip(gradients, self.backward.reached, strict=True)),
            tuple(total if ({one.cotangent} | one.followers) & present else None for one, total in totals),
        )

    def of_zeros(self, saved: Tensors) -> Tensors:
        """What the backward pass makes of zeros: zeros, but where a derivative is infinite or a hook adds something."""
        return self.passes.backward(*saved, *map(zeros_of, self.cotangents))


def _groups(function: Differentiable) -> list[tuple[int, ...]]:
    backward = function.backward
    distinct = range(len(backward.outputs))
    before = {number: sum(number in one.followers for one in backward.inner) for number in distinct}
    linked = {one.cotangent for one in backward.inner}.union(*(one.followers for one in backward.inner))
    others = tuple(number for number in distinct if number not in linked)
    alone = sorted((number for number in distinct if number in linked), key=before.__getitem__)
    return [*((others,) if others else ()), *((number,) for number in alone)]


def present_in(cotangents: Gradients) -> frozenset[int]:
    """The numbers of those that are not None."""
    return frozenset(number for number, cotangent in enumerate(cotangents) if cotangent is not None)


def read_by(function: Differentiable, tensors: Tensors) -> list[Tensor]:
    """All tensors that outlive a call with these inputs and that it may read."""
    return [*tensors, *function.effects.attributes.values()]


def places_read(count: int, effects: Effects) -> tuple[int | str, ...]:
    """Where these are, for a call with `count` inputs."""
    return (*range(count), *effects.attributes)


def make_differentiable(program: Program, passes: EmittedPasses) -> Differentiable:
    """The passes as a function that autograd can call."""
    assert program.backward is not None
    effects = effects_of(program)
    return Differentiable(
        passes,
        program.backward,
        tuple(map(spec_of, program.example.cotangents)),
        tuple(map(spec_of, program.example.outputs[passes.results :])),
        tuple(
            number
            for number, place in enumerate(places_read(len(program.example.inputs), effects))
            if place in program.needed
        ),
        effects,
        not (program.draws or program.mutations) and program.stores.only_count,
    )


def zeros_of(spec: TensorSpec) -> Tensor:
    """Zeros with these strides."""
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device).zero_()


def lay_out(cotangent: Tensor, spec: TensorSpec) -> Tensor:
    """The cotangent with the strides that it had while recording."""
    if cotangent.stride() == spec.stride and not cotangent.is_conj() and not cotangent.is_neg():
        return cotangent
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device).copy_(cotangent)
