"""Functionalize: a raw record that writes into tensors becomes one that only makes new tensors.

What lies in memory that is written into is replayed under `torch.func.functionalize` on meta tensors: nothing is
computed a second time. What each recorded call returns is known from its spec; only the views and scatters that
functionalization adds are run, on meta. A call that neither writes nor gives a view passes as the operator
`fxsolve::step`: functionalization takes some apart, `silu_backward` for one, and the parts round in another way.
All other calls, nearly all of most programs, are copied as they are.
"""

from collections import ChainMap
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.functional.entry_writes import without_write
from fxsolve.capture.functional.rewriter import STEP, Rewriter
from fxsolve.capture.functional.written import written_memory
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.raw_calls import changes_shape, gives_parts, is_idle, is_view, stays_whole
from fxsolve.capture.record.record import Record
from fxsolve.errors import CaptureError
from fxsolve.ir.meta import empty_like_spec
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.tensors import bring_up_to_date


def functionalize(record: Record) -> Record:
    """The same record without any call that writes into an argument.

    Raises:
        CaptureError: functionalization does not support a call, or loses track of a tensor. What the recorded run
            changed is put back to what it was before.
    """
    if not record.mutates:
        return record
    try:
        return replace(record, graph=replay(record.graph, written_memory(record.graph)), mutates=False)
    except RuntimeError as error:
        record.rewind()
        reason = str(error).partition("\n")[0]
        raise CaptureError(f"the in-place writes of this program cannot be followed: {reason}") from error
    except Exception:
        record.rewind()
        raise


def replay(graph: fx.Graph, followed: Collection[fx.Node]) -> fx.Graph:
    """The functional form of a raw graph; nodes in memory that is written into must be among those `followed`."""
    leaves = [node for node in graph.nodes if node.op in ("placeholder", "get_attr")]
    calls = [node for node in graph.nodes if node.op == "call_function"]
    outputs: Any = graph.output_node().args[0]
    rewriter = Rewriter(calls[0], any(gives_parts(call) for call in calls if call in followed))
    replayed = _Replay(rewriter, leaves, calls, followed)
    ends = [node for node in outputs if node in followed]

    def run(*values: Tensor) -> list[Tensor]:
        replayed.start(values)
        for node in calls:
            replayed.call(node)
        return [replayed.known[node] for node in ends]

    with paused_collector(), torch.no_grad(), rewriter:
        results = torch.func.functionalize(run, remove="mutations")(*replayed.given.values())
        last = {end: rewriter.node_of(result) for end, result in zip(ends, results, strict=True)}
    found = ChainMap(last, replayed.copies)
    rewriter.graph.output(tuple(rewriter.hand_out(node, found[node]) for node in outputs))
    return rewriter.graph


class _Replay:
    """Runs those of the raw calls that are followed again, and copies the others.

    `known` has the tensors of the ones, `copies` the nodes of the others. `given` are the tensors that followed calls
    begin with: those of leaves, and of other calls.
    """

    def __init__(
        self, rewriter: Rewriter, leaves: Sequence[fx.Node], calls: Sequence[fx.Node], followed: Collection[fx.Node]
    ) -> None:
        self._rewriter = rewriter
        self._followed = followed
        # Such a call, `unsqueeze_` for one, gives a view another shape than the tensor it is a view of.
        self._keeps_shapes = not any(changes_shape(call.target) for call in calls)
        self.known: dict[fx.Node, Any] = {}
        self.copies = {leaf: rewriter.add_leaf(leaf) for leaf in leaves}
        begin = [leaf for leaf in leaves if leaf in followed]
        read = [node for call in calls if call in followed for node in call.all_input_nodes if node not in followed]
        self.given = {node: empty_like_spec(node.meta["spec"]) for node in (*begin, *read)}
        for leaf in leaves:
            self._hold(leaf)

    def start(self, values: Sequence[Tensor]) -> None:
        """The functional tensors in the place of those that were `given`."""
        self.known.update(zip(self.given, values, strict=True))

    def call(self, node: fx.Node) -> None:
        """Run one call, or copy it."""
        self._rewriter.step = node
        self._rewriter.backward = "backward" in node.meta
        is_followed = node in self._followed
        if self._keeps_shapes and is_idle(node):
            values = self.known if is_followed else self.copies
            values[node] = values[node.all_input_nodes[0]]
        elif is_followed:
            self.known[node] = self._run(node)
        else:
            self.copies[node] = self._copy(node)
        self._hold(node)

    def _hold(self, node: fx.Node) -> None:
        """From now on, what was given for a node has one that it stands for."""
        if node in self.given:
            self._rewriter.hold(self.given[node], self.copies[node])

    def _copy(self, node: fx.Node) -> fx.Node:
        followed = [one for one in node.all_input_nodes if one in self._followed]
        if not followed:
            return self._rewriter.copy(node, self.copies)
        now = self._rewriter.look([self.known[one] for one in followed])
        return self._rewriter.copy(node, ChainMap(dict(zip(followed, now, strict=True)), self.copies))

    def _run(self, node: fx.Node) -> Any:
        if stays_whole(node):
            return self._run_whole(node)
        if (form := without_write(node)) is not None:
            return self._write_entries(node, form)
        args, kwargs = fx.map_arg((node.args, node.kwargs), self.known.__getitem__)  # pyright: ignore
        result = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        if is_view(node.target) and not gives_parts(node):
            # After a write it would be made where it is first used: the steps of a loop then have another order of
            # calls than the first one, which comes before any write.
            bring_up_to_date(result)
        return result

    def _write_entries(self, node: fx.Node, form: OpOverload) -> Tensor:
        self._rewriter.form = form
        target = self.known[node.args[0]]  # pyright: ignore[reportArgumentType]
        target.copy_(self._run_whole(node))
        self._rewriter.form = None
        return target

    def _run_whole(self, node: fx.Node) -> Any:
        """The results of a call that stays whole, as its spec has them."""
        tensors: list[Tensor] = []
        fx.map_arg((node.args, node.kwargs), lambda one: tensors.append(self.known[one]))
        spec, results = node.meta["spec"], iter(STEP(tensors))
        if isinstance(spec, TensorSpec):
            return next(results)
        return tuple(None if one is None else next(results) for one in spec)
