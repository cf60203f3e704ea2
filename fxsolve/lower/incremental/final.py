"""From which step on each entry of each value of a step is final: what it reads is written, and is not written again.

An entry that depends on x_<=s, and on no value of the step itself, is the same in every step t > s. So labels are those
of the domain of dependence, over a single step: a buffer carries the steps that write its entries, and a value that
each step is given, and that is known for all steps (a mask over what is not written yet), carries for each entry the
last step that is given another one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.spec import Invariant, Prefix, Read, Repeat, Slices, Stacked, Table
from fxsolve.ir.tables import device_of, table_tensor
from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import NEVER, Entries, entries, unknown
from fxsolve.ops.interpret import Domain, Interpreter
from fxsolve.solvers.step_order import StepOrder
from fxsolve.torch_compat.trees import pytree

_MOST_ENTRIES = 2**24  # of a value that is known, over all steps
_ENTRY_BY_ENTRY = (
    access.SamePlace | access.Chosen | access.SameEntries | access.Reshaped | access.Permuted | access.Expanded
    | access.Cut | access.Joined
)  # fmt: skip

Structural = Mapping[str, Tensor | Entries]


@dataclass(frozen=True)
class PerStep:
    """A value that is known at every step: values[t]."""

    values: tuple[Tensor, ...]

    def settled(self) -> Entries:
        """For each entry the last step before it stays as it is, and whether it is zero or low at every step."""
        stacked = torch.stack(self.values)
        differs = (stacked != stacked[-1:]) & ~((stacked != stacked) & (stacked[-1:] != stacked[-1:]))
        steps = torch.arange(len(stacked), device=stacked.device).view(-1, *(1 for _ in stacked.shape[1:]))
        latest = torch.where(differs, steps, NEVER).amax(0)
        if latest.numel() and int(latest.min()) == int(latest.max()) != NEVER:
            latest = torch.full_like(latest, len(stacked))  # a number of the step, not a mask that recedes
        return entries(latest, ((stacked == 0).all(0)) & (latest == NEVER))


@dataclass(frozen=True)
class Receding(Entries):
    """Labels of what is made, entry by entry, of a value that is known at every step, such as a mask that recedes.

    At steps before its label an entry is hidden, and holds what hides it; later ones may be summed up with it.
    """


class Finality(Domain):
    """StepValues are `Entries`, or `PerStep`, of which there are `length`."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._dependence = Dependence()

    def is_abstract(self, value: Any) -> bool:
        return isinstance(value, Entries | PerStep)

    def transfer(self, call: Call) -> Any:
        """Computed for every step where all arguments are known; otherwise by the domain of dependence."""
        leaves = pytree.tree_leaves(call.arguments)
        is_small = _entries_in(call.example) * self._length <= _MOST_ENTRIES
        if is_small and not any(isinstance(leaf, Entries) for leaf in leaves):
            return _each_step(call, self._length)
        return self._told(call, self._dependence.transfer(_with(call, lambda one: one.settled())))

    def mix(self, arguments: Any, example: Any) -> Any:
        """Every entry depends on all that the arguments depend on."""
        return self._dependence.mix(pytree.tree_map_only(PerStep, PerStep.settled, arguments), example)

    def _told(self, call: Call, found: Any) -> Any:
        """The result of a call, of whose arguments some may be receding, or other ones in each step."""
        if not any(isinstance(leaf, PerStep | Receding) for leaf in pytree.tree_leaves(call.arguments)):
            return found
        kind = Receding if isinstance(call.fact.access, _ENTRY_BY_ENTRY) else Entries
        return pytree.tree_map_only(Entries, lambda one: self._apart(one, kind), found)

    def _apart(self, found: Entries, kind: type[Entries]) -> Entries:
        """Where all entries have one label, nothing is hidden any more, as in sums over the words so far."""
        latest = found.latest[found.latest != NEVER]
        if latest.numel() and int(latest.min()) == int(latest.max()):
            return replace(found, latest=torch.where(found.latest == NEVER, NEVER, self._length))
        return kind(found.latest, found.zero, found.low, found.true)


def _entries_in(example: Any) -> int:
    return sum(leaf.numel() for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor))


def _with(call: Call, change: Callable[[PerStep], Any]) -> Call:
    arguments = pytree.tree_map_only(PerStep, change, dict(call.arguments))
    return Call(call.target, arguments, call.example, call.fact)


def _each_step(call: Call, length: int) -> Any:
    results = [_with(call, lambda one, t=t: one.values[t]).run({}) for t in range(length)]
    if isinstance(results[0], Tensor):
        return PerStep(tuple(results))
    return tuple(PerStep(tuple(column)) for column in zip(*results, strict=True))


def final_labels(repeat: Repeat, step: fx.GraphModule, known: Structural, order: StepOrder) -> dict[fx.Node, Any]:
    """For each node of a step its labels: an `Entries`, a `PerStep`, an ordinary tensor, or a tuple of these.

    Steps are runs of the `order`. Label s means final behind step s, `NEVER` before the first one, and T not at all.
    """
    pairs = zip(repeat.reads, step.graph.find_nodes(op="placeholder"), strict=True)
    inputs = [_label(repeat, read, node.meta["val"], known, order) for read, node in pairs]
    interpreter = Interpreter(step, Finality(len(order.runs)), garbage_collect_values=False)
    with torch.no_grad():
        interpreter.run(*inputs)
    return {node: interpreter.env[node] for node in step.graph.nodes if node.op != "output"}


def _label(repeat: Repeat, read: Read, example: Tensor, known: Structural, order: StepOrder) -> Any:
    device = device_of(repeat)
    match read:
        case Prefix(_, _, dim, index):
            labels = torch.full(example.shape, NEVER, device=device)
            steps = torch.tensor(order.run_of_each(), device=device).view(
                [-1 if k == dim else 1 for k in range(labels.dim())]
            )
            wide = [len(index) if k == dim else size for k, size in enumerate(labels.shape)]
            return entries(labels.index_copy(dim, torch.tensor(index, device=device), steps.expand(wide)))
        case Invariant(source):
            return known[source] if source in known else unknown(example.shape, device=device)
        case Table():
            return PerStep(order.arriving(table_tensor(read, device)))
        case Slices(source, dim, index) if isinstance(known.get(source), Tensor):
            return PerStep(order.arriving(_tensor(known, source).movedim(dim, 0)[list(index)]))
        case Stacked(sources) if all(isinstance(known.get(source), Tensor) for source in sources):
            return PerStep(order.arriving(torch.stack([_tensor(known, source) for source in sources])))
    return unknown(example.shape, len(order.runs), device)


def _tensor(known: Structural, name: str) -> Tensor:
    value = known[name]
    assert isinstance(value, Tensor)
    return value


def labels_of(value: Any) -> Entries | None:
    """The labels of one tensor, where it has any."""
    if isinstance(value, PerStep):
        return value.settled()
    return value if isinstance(value, Entries) else None
