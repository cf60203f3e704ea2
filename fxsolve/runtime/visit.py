"""One plain run of a program at a new length, with its backward pass where gradients are wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxsolve.capture.backward.boundary import BoundedResults
from fxsolve.capture.backward.gradient_paths import find_ways
from fxsolve.capture.communication import Line
from fxsolve.capture.effects.aliasing import common_bases
from fxsolve.capture.effects.counters import Counters
from fxsolve.capture.program import Output, Program, attribute_of
from fxsolve.capture.record.backward import draw_cotangent
from fxsolve.capture.record.output import flatten_result
from fxsolve.capture.record.watched import watched
from fxsolve.capture.record.witness import Witness
from fxsolve.capture.stream import Entry
from fxsolve.errors import CaptureError, PartitionError
from fxsolve.runtime.modes import plain_autograd
from fxsolve.state.held import Held, hold
from fxsolve.state.reach import Reach, find_reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.state.stores import Store
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class Visit:
    """A call at a new length; `counters` are those of a `Live`."""

    program: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    counters: frozenset[tuple[int, str]] = frozenset()

    @property
    def leaves(self) -> tuple[Any, ...]:
        return tuple(pytree.tree_leaves((self.args, self.kwargs)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Tensor))

    @property
    def reach(self) -> Reach:
        return find_reach(self.program, tuple(leaf for leaf in self.leaves if not isinstance(leaf, Tensor)))


@dataclass(frozen=True)
class Seen:
    """What a run took and gave, its gradients for the `cotangents` last; its calls and its constants of numbers.

    `counted` is what it counted, and `before` what was in the places that were watched for that.
    """

    inputs: tuple[Tensor, ...]
    output: Output
    outputs: tuple[Tensor, ...]
    cotangents: tuple[Tensor, ...]
    entries: tuple[Entry, ...]
    literals: tuple[Tensor, ...]
    counted: tuple[Store, ...]
    before: Held


def see(visit: Visit, program: Program) -> Seen:
    """Run the program once; `program` is a recording of it at another length.

    Raises:
        PartitionError: it raises, or leaves something behind, as it will when it is recorded.
    """
    inputs, reach = visit.tensors, visit.reach
    wanted = visit.counters.union(place.identity for place in program.stores.counters)
    with _undone(reach, wanted) as (counters, before):
        watcher = Witness(reach, inputs)
        output, outputs = flatten_result(watcher.watch(lambda: visit.program(*visit.args, **visit.kwargs)))
        outputs = (*outputs, *common_bases(outputs, (*inputs, *_attributes(program))))
        if len(outputs) != program.stores.outputs:
            raise PartitionError("the results share memory in another way at this length")
        counted = counters.stores()
        cotangents, gradients = _differentiate(watcher, program, inputs, outputs)
        if counters.stores() != counted:
            raise PartitionError("the program counts in its backward pass")
    results = (*outputs, *gradients)
    return Seen(inputs, output, results, cotangents, watcher.entries, watcher.literals, counted, before)


def _attributes(program: Program) -> list[Tensor]:
    return [attribute_of(program, str(node.target)) for node in program.module.graph.find_nodes(op="get_attr")]


@contextmanager
def _undone(reach: Reach, wanted: frozenset[tuple[int, str]]) -> Iterator[tuple[Counters, Held]]:
    """Whatever the body raises is a PartitionError; so is anything that it leaves behind, and both are undone.

    The body may count in the `wanted` places; it is given the counters, and what was in their places.
    """
    snapshot = take_snapshot(reach)
    try:
        with watched(reach, snapshot, wanted, Line(is_open=False)) as counters:
            yield counters, hold(counter.place for counter in counters.at.values())
            counters.check()
        if changed := [slot for slot in snapshot.changed() if slot.place.identity not in counters.at]:
            raise PartitionError(f"the program changes {changed[0].place.label}")
    except (CaptureError, PartitionError) as error:
        snapshot.restore()
        raise PartitionError(str(error)) from error
    except Exception as error:
        snapshot.restore()
        raise PartitionError(f"the program raised {type(error).__name__}") from error


def _differentiate(
    watcher: Witness, program: Program, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The cotangents and the gradients, in the order of those of a recording."""
    backward = program.backward
    handed = program.stores.handed
    numbers = tuple(k for k, output in enumerate(outputs) if output.requires_grad and k not in handed)
    if numbers != (backward.outputs if backward else ()):
        raise PartitionError("other results want gradients at this length")
    if backward is None:
        return (), ()
    chosen = [outputs[k] for k in numbers]
    places = [inputs[one] if isinstance(one, int) else attribute_of(program, one) for one in backward.places]
    inner = {one.cotangent: one.followers for one in backward.inner}
    found = find_ways(chosen, places).results
    if any(found[k] != followers for k, followers in inner.items()):
        raise PartitionError("the results come from one another in another way at this length")
    cotangents, wanted = tuple(map(draw_cotangent, chosen)), [*places, *(chosen[k] for k in inner)]
    gated = BoundedResults(chosen, places)
    with plain_autograd():
        gradients = watcher.watch(lambda: gated.differentiate(wanted, cotangents))
    if [one is not None for one in gradients[: len(places)]] != [k is not None for k in backward.gradients]:
        raise PartitionError("other tensors get gradients at this length")
    return cotangents, tuple(gradient for gradient in gradients if gradient is not None)
