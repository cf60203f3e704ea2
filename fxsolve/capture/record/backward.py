"""The backward pass of a program, recorded behind its forward pass by running it once on random cotangents.

Below autograd a record no longer knows custom backward formulas, `detach` or hooks, so it must not be differentiated
again: the program's own backward is recorded instead, as AOTAutograd's joint graph does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fxsolve.capture.backward.boundary import BoundedResults
from fxsolve.capture.backward.gradient_paths import Ways, find_ways
from fxsolve.capture.communication import Line
from fxsolve.capture.effects.externals import External
from fxsolve.capture.program import Backward, Inner
from fxsolve.capture.record.as_written import as_written
from fxsolve.capture.record.doors import watched_doors
from fxsolve.capture.record.read_watch import ReadWatch
from fxsolve.capture.record.recorder import Recorder
from fxsolve.errors import CaptureError, CommunicationError, SideEffectError
from fxsolve.state.processes import in_group
from fxsolve.state.reach import Reach, find_reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.torch_compat.dispatch import WithoutTorchFunction
from fxsolve.torch_compat.tensors import accumulation_hooks_of, hooks_of

_MAX_INNER = 16  # outputs that others were computed from; each costs one more result of the backward pass


@dataclass(frozen=True)
class Pass:
    """A recorded backward pass: a cotangent for each of the `outputs`, a gradient or None for each of the places.

    `totals` are the whole gradients of the `inner` outputs, given as (cotangent, followers) as in `Inner`.
    """

    outputs: tuple[int, ...]
    places: tuple[int | str, ...]
    cotangents: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]
    reached: tuple[frozenset[int], ...]
    inner: tuple[tuple[int, frozenset[int]], ...]
    totals: tuple[Tensor, ...]

    @property
    def found(self) -> tuple[Tensor, ...]:
        """The gradients that there are, then the totals."""
        return (*(gradient for gradient in self.gradients if gradient is not None), *self.totals)

    def numbered(self, first: int) -> Backward:
        """The same in numbers of graph outputs, of which the gradients take those from `first` on."""
        numbers = iter(range(first, first + len(self.found)))
        gradients = tuple(None if one is None else next(numbers) for one in self.gradients)
        inner = tuple(Inner(*one, next(numbers)) for one in self.inner)
        return Backward(self.outputs, self.places, gradients, self.reached, inner)


def record_backward(
    recorder: Recorder, results: tuple[Tensor, ...], handed: frozenset[int], reach: Reach
) -> Pass | None:
    """Differentiate the `results` of a recorded run; None where none of them wants gradients.

    Those of the numbers `handed` are made of others, or of what the program was given, behind the emitted passes, where
    autograd sees how. `reach` is what the program reaches. Autograd's graph of the run stays usable.

    Raises:
        CaptureError: the gradients would not be those of the program alone, or the backward pass does more than compute
            them.
    """
    outputs = tuple(k for k, result in enumerate(results) if result.requires_grad and k not in handed)
    if not outputs or not torch.is_grad_enabled():
        return None
    chosen = [results[k] for k in outputs]
    wanted, ways = _find_wanted(recorder, chosen)
    if not wanted:
        return None
    _check_hooks(wanted, chosen)
    cotangents = tuple(map(draw_cotangent, chosen))
    inner = _inner(ways, chosen, wanted)
    asked = [*(one.tensor for one in wanted), *(chosen[k] for k, _ in inner)]
    given = asked[: len(wanted)]
    gated = BoundedResults(chosen, given)
    with _unchanged(recorder, reach):
        with _backward_phase(recorder, cotangents):
            found = _differentiate(recorder, gated, asked, cotangents)
        reached = _reached(ways, chosen, given, cotangents)
    _check_layouts(wanted, found)
    gradients, totals = found[: len(wanted)], found[len(wanted) :]
    places = tuple(one.place for one in wanted)
    return Pass(outputs, places, cotangents, gradients, reached, inner, totals)  # pyright: ignore[reportArgumentType]


def _find_wanted(recorder: Recorder, results: list[Tensor]) -> tuple[list[External], Ways]:
    """The tensors outside of the program that gradients come to, and how."""
    known = [one for one in recorder.externals.all() if one.tensor.requires_grad]
    ways = find_ways(results, [one.tensor for one in known])
    found = [(one, way) for one, way in zip(known, ways.tensors, strict=True) if way]
    return [one for one, _ in found], replace(ways, tensors=tuple(way for _, way in found))


def _inner(ways: Ways, results: Sequence[Tensor], wanted: Sequence[External]) -> tuple[tuple[int, frozenset[int]], ...]:
    """The results that others were computed from, but for those that the program was given."""
    given = {id(one.tensor) for one in wanted}
    inner = tuple((k, others) for k, others in enumerate(ways.results) if others and id(results[k]) not in given)
    if len(inner) > _MAX_INNER:
        raise CaptureError(
            f"the program returns or keeps {len(inner)} tensors that others of its results were computed from, more "
            f"than {_MAX_INNER}; stack them, or detach those whose gradients are not wanted."
        )
    return inner


def _reached(
    ways: Ways, results: list[Tensor], wanted: list[Tensor], cotangents: tuple[Tensor, ...]
) -> tuple[frozenset[int], ...]:
    """For each of the `wanted`, the cotangents of which any one gives it a gradient."""
    if not ways.is_custom or len(results) == 1:
        return ways.tensors
    alone = [
        BoundedResults((result,), wanted).differentiate(wanted, (cotangent,))
        for result, cotangent in zip(results, cotangents, strict=True)
    ]
    columns = zip(*alone, strict=True)
    return tuple(frozenset(k for k, gradient in enumerate(column) if gradient is not None) for column in columns)


def _differentiate(
    recorder: Recorder, results: BoundedResults, wanted: list[Tensor], cotangents: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    try:
        found = results.differentiate(wanted, cotangents)
    except CaptureError:
        raise
    except Exception as error:  # the program's own hooks and backward formulas may raise anything
        if recorder.error is not None:
            raise recorder.error from None
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        reason = str(error).partition("\n")[0]
        raise CaptureError(f"the backward pass cannot be recorded: {kind}{reason}") from error
    if recorder.error is not None:
        raise recorder.error
    return found


@contextmanager
def _backward_phase(recorder: Recorder, cotangents: tuple[Tensor, ...]) -> Iterator[None]:
    """In the body, calls are recorded as those of the backward pass, which autograd runs outside of autocast."""
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    with WithoutTorchFunction():
        for number, cotangent in enumerate(cotangents):
            recorder.add_cotangent(cotangent, number)
    line, recorder.line = recorder.line, Line(is_open=False)
    recorder.backward = True
    try:
        for device in devices:
            torch.set_autocast_enabled(device, False)
        with as_written(), watched_doors(), recorder, ReadWatch(recorder):
            yield
    finally:
        for device in devices:
            torch.set_autocast_enabled(device, True)
        recorder.backward = False
        recorder.line = line


@contextmanager
def _unchanged(recorder: Recorder, reach: Reach) -> Iterator[None]:
    """Raise SideEffectError if the body, run on made-up gradients, leaves anything else behind than tensors."""
    hooks = find_reach(None, tuple(recorder.hooks))
    snapshots = (take_snapshot(reach), take_snapshot(hooks))
    before = _counts(recorder)
    try:
        yield
        changed = [slot for snapshot in snapshots for slot in snapshot.changed()]
    finally:
        for snapshot in snapshots:
            snapshot.restore()
    if changed:
        raise SideEffectError(f"the backward pass changes {changed[0].place.label}, which outlives the call.")
    if before != _counts(recorder):
        raise CaptureError("the backward pass draws random numbers, or writes into tensors that outlive it.")


def _counts(recorder: Recorder) -> tuple[int, int, int]:
    externals = recorder.externals
    return len(recorder.draws), len(externals.written), len(externals.moved)


def draw_cotangent(result: Tensor) -> Tensor:
    """Random numbers, laid out as the result, that leave the program's generators alone."""
    generator = torch.Generator(result.device).manual_seed(0)
    drawn = torch.randn(result.shape, generator=generator, dtype=result.dtype, device=result.device)
    return torch.empty_like(result.detach()).copy_(drawn)


def _check_hooks(wanted: list[External], results: list[Tensor]) -> None:
    """Raise for hooks that may communicate, and for tensors that would keep the gradients of the recorded pass."""
    for one in wanted:
        if in_group() and (hooks_of(one.tensor) or accumulation_hooks_of(one.tensor)):
            raise CommunicationError(
                f"{one.label} has a gradient hook before the call; in a group of processes it may communicate, in the "
                "order of the program's own backward pass."
            )
        if one.tensor.retains_grad:
            raise CaptureError(f"{one.label} retains its gradient before the call; it is no leaf.")
    known = {id(one.tensor) for one in wanted}
    if any(result.retains_grad or (result.is_leaf and id(result) not in known) for result in results):
        raise CaptureError("the program returns a tensor that is to keep its gradient; ask for that after the call.")


def _check_layouts(wanted: list[External], gradients: tuple[Tensor | None, ...]) -> None:
    for one, gradient in zip(wanted, gradients, strict=False):
        if gradient is not None and gradient.layout != torch.strided:
            raise CaptureError(f"the gradient of {one.label} is sparse; fxsolve handles strided tensors.")
