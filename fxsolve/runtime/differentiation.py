"""The derivatives of one call of emitted passes: by the emitted backward pass, or by the program as it was written."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from fxsolve.capture.effects.mutations import counting_nothing
from fxsolve.errors import FxSolveError, GradientError
from fxsolve.report.difference import compare, within
from fxsolve.runtime.agreement import tolerance_of
from fxsolve.runtime.batched import are_batched, derive_each
from fxsolve.runtime.changed import Changed, describe_changed
from fxsolve.runtime.faults import stray_error
from fxsolve.runtime.gradients import Derivatives, Differentiable, Gradients, Original, Tensors, places_read, read_by
from fxsolve.runtime.layouts import take
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.partial_gradients import choose, differentiate_some
from fxsolve.runtime.reruns import Pair, apart, lead, pairs_of
from fxsolve.solvers.requests import Request, asked_by, requests
from fxsolve.solvers.solution import observe
from fxsolve.state.memory import version_of
from fxsolve.torch_compat.gradients import current_pass
from fxsolve.torch_compat.tensors import write_count_of

_LOOSE = 1e4  # a program that runs again does the same, or something else


@dataclass
class DifferentiatedCall:
    """One call: what it read and returned, and what autograd has brought back so far, by backward pass."""

    function: Differentiable
    tensors: Tensors
    original: Original
    returned: Tensors
    versions: list[int | None]  # of what it returned, then of what it read
    asked: tuple[Request, ...] = field(default_factory=requests)
    results: tuple[ref[Tensor], ...] = ()  # as they were handed out, while somebody has them
    own: dict[int, dict[int, Tensor]] = field(default_factory=lambda: defaultdict(dict))
    handed: dict[tuple[int, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, number: int, total: Tensor | None) -> Tensor | None:
        """Note what came to an output from outside of the program: the total without what was handed back to it."""
        task = current_pass()
        handed = self.handed.pop((task, number), [])
        if total is None or (len(handed) == 1 and handed[0] is total):
            return None
        own = total - sum(handed) if handed else total
        self.own[task][number] = own
        return own

    def hand_back(self, root: Any, number: int, own: Tensor, before: list[int]) -> Gradients:
        """What comes back from one output to the inner ones that it was computed from."""
        given = tuple(own if k == number else None for k in range(len(self.function.cotangents)))
        totals = zip(self.function.backward.inner, self.derive(root, given).totals, strict=True)
        found = {one.cotangent: total for one, total in totals}
        task = current_pass()
        for k in before:
            self.handed[task, k] += [one for one in (found[k],) if one is not None]
        return tuple(found[k] for k in before)

    def collect(self) -> Gradients:
        """The cotangents of this backward pass."""
        own = self.own.pop(current_pass(), {})
        return tuple(own.get(number) for number in range(len(self.function.cotangents)))

    def derive(self, root: Any, cotangents: Gradients) -> Derivatives:
        """The derivatives for these cotangents, with a graph where one is wanted.

        Raises:
            GradientError: a tensor that they need was written into since, or the program would have to run again for
                them, and would not do the same.
            RuntimeError: the graph of the call is gone.
        """
        saved = self._saved(root)
        if torch.is_grad_enabled():
            return self._run_again(cotangents, "its gradients cannot be differentiated again")
        if are_batched(cotangents):
            return derive_each(partial(self.derive, root), cotangents)
        if saved is None:
            self.function.learned.writes = True
            return self._run_again(cotangents, "its results cannot be written into before the backward pass")
        failed, found = None, None
        try:
            found = self._differentiate(saved, cotangents)
        except FxSolveError:
            raise
        except Exception as error:
            failed = error.with_traceback(None)  # which leads to this frame, and so to itself
        if failed is not None:
            return self._derive_instead(failed, cotangents)
        return found or self._run_again(cotangents, "it has no gradients of some of its results without the others")

    def _differentiate(self, saved: Tensors, cotangents: Gradients) -> Derivatives | None:
        """The derivatives by the emitted backward pass; None if only the original can tell."""
        is_whole = all(one is not None for one in cotangents)
        with plain_torch():
            cotangents = take(self.function, saved, cotangents)
            if not is_whole:
                choose(self.function, saved, cotangents)
            with observe() as solutions, asked_by(self.asked):
                differentiate = self.function.differentiate if is_whole else partial(differentiate_some, self.function)
                found = differentiate(saved, cotangents)
        self.function.learned.solutions = tuple(solutions)
        return found

    def _derive_instead(self, failed: Exception, cotangents: Gradients) -> Derivatives:
        """The derivatives by the original, where the emitted backward pass raised; it may raise as well."""
        if not self.function.is_repeatable:
            raise failed
        found = self._run_again(cotangents, "its backward pass cannot run")
        self.function.learned.fault = stray_error(failed, self.function.passes.plan.schedule)
        return found

    def _saved(self, root: Any) -> Tensors | None:
        """What the forward pass saved; None where the caller wrote into a result that shares memory with it."""
        try:
            saved = root.saved_tensors
        except RuntimeError as error:
            if "second time" in str(error):
                raise
            saved = None
        reads, first = read_by(self.function, self.tensors), len(self.returned)
        changed = [k for k in self.function.needed if write_count_of(reads[k]) != self.versions[first + k]]
        if changed:
            raise GradientError(
                f"a tensor needed for the gradient {self._modified(changed)}; call backward() before that, or write "
                "into a clone."
            )
        return saved

    def _run_again(self, cotangents: Gradients, problem: str) -> Derivatives:
        """The derivatives by the program as it was written."""
        function, changed = self.function, self._changed()
        if not function.is_repeatable:
            raise GradientError(
                f"this program draws random numbers or keeps state: compiled, {problem}; call the original for that."
            )
        if changed:
            raise GradientError(
                f"a tensor that the program reads {self._modified(changed)}; compiled, {problem} then. Call backward() "
                "before that, or write into a clone."
            )
        attributes = function.effects.attributes
        wants_graph = torch.is_grad_enabled() and not are_batched(cotangents)
        given = apart(cotangents) if wants_graph else cotangents
        with counting_nothing(function.effects):
            found, outputs = self.original.differentiate(function.backward, attributes, given, torch.is_grad_enabled())
        if not self._returns_same(outputs):
            raise GradientError(f"the program is not as it was at its call: compiled, {problem} then.")
        return self._led(found, outputs, pairs_of(given, cotangents)) if wants_graph else found

    def _led(self, found: Derivatives, likes: Tensors, weights: list[Pair]) -> Derivatives:
        """The derivatives that the program found again, on the graph of the results of this call: see `lead`."""
        handed = zip(likes, (one() for one in self.results), self.versions, strict=False)
        # Where a result was written into since, its graph is no longer that of the call.
        pairs = [(like, one) for like, one, version in handed if one is not None and version_of(one) == version]
        given = [(one, one) for one in read_by(self.function, self.tensors)]
        count = len(found.gradients)
        led = lead((*found.gradients, *found.totals), [*pairs, *given, *weights])
        return Derivatives(led[:count], led[count:])

    def _changed(self) -> list[int]:
        """The numbers of the tensors that it read and that were written into since."""
        pairs = zip(read_by(self.function, self.tensors), self.versions[len(self.returned) :], strict=True)
        return [k for k, (tensor, version) in enumerate(pairs) if version_of(tensor) != version]

    def _modified(self, changed: list[int]) -> str:
        reads, versions = read_by(self.function, self.tensors), self.versions[len(self.returned) :]
        places = places_read(len(self.tensors), self.function.effects)
        found = [Changed(places[k], reads[k], versions[k]) for k in changed]
        names = describe_changed(found, self.function.effects, len(self.tensors), self.original)
        # The first words are those of torch, which people search for.
        return (
            "has been modified by an inplace operation, by an optimizer step or in-place write between forward and "
            f"backward: {names}"
        )

    def _returns_same(self, outputs: Tensors) -> bool:
        """Whether these are what was returned, but for what the caller wrote into."""
        pairs = zip(self.returned, outputs, self.versions, strict=False)
        same = [(ours, theirs) for ours, theirs, version in pairs if version_of(ours) == version]
        if not same:
            return True
        ours, theirs = zip(*same, strict=True)
        return within(compare(ours, theirs, _LOOSE * tolerance_of(theirs)))
