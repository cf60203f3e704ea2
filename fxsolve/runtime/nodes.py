"""A call of emitted passes as nodes of autograd's graph, so that it looks from outside as the program's own graph does.

One root holds what the forward pass saved and runs the backward pass. In front of it, every output that others were
computed from, and each of those, has a node of its own: what comes back to an output from the others is only worked out
where somebody looks at it, with a hook, `retain_grad`, or by asking for some gradients only.
"""

from collections import Counter
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from fxsolve.runtime.differentiation import DifferentiatedCall
from fxsolve.runtime.gradients import Differentiable, Gradients, Original, Tensors, read_by
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.opaque import run_between_graphs
from fxsolve.solvers.lazy import as_lazy
from fxsolve.solvers.strides import laid_out
from fxsolve.state.memory import storage_of, storages_of, version_of
from fxsolve.torch_compat.gradients import will_run
from fxsolve.torch_compat.tensors import hooks_of, is_view

with torch.inference_mode(False):
    # A leaf that nobody else knows: a backward pass comes to it unless only some gradients are asked for.
    _PROBE = torch.zeros((), requires_grad=True)
_PROBE_NODE = get_gradient_edge(_PROBE).node


def run(function: Differentiable, tensors: Tensors, noise: list[Tensor], original: Original) -> Tensors:
    """The program's outputs, as autograd's graph has them; `original` is the same call as it was written.

    Those that are handed on as other tensors, or as views of them, are values of no graph.
    """
    backward = function.backward
    function.learned.solutions = ()
    with plain_torch():
        values, saved = function.solve(tensors, noise)
        values = _own_memory(values, saved, tensors, function)
        returned = tuple(value.detach() for value in values)
    versions = [version_of(tensor) for tensor in (*returned, *read_by(function, tensors))]
    call = DifferentiatedCall(function, tensors, original, returned, versions)
    wanted = [function.at(place, tensors) for place in backward.places]
    names = {id(value) for value in values}
    # A tensor that is handed out must not be held by the node that it leads to.
    kept = [tensor.detach() if id(tensor) in names else tensor for tensor in saved]
    token = _Root.apply(call, kept, *wanted)
    outputs = list(returned)
    for group in function.groups:
        chosen = tuple(values[backward.outputs[number]] for number in group)
        before = [one.cotangent for one in backward.inner if group[0] in one.followers]
        inner = tuple(outputs[backward.outputs[number]] for number in before)
        made: Any = _Outputs.apply(call, (group, before), chosen, token, _PROBE, *inner)
        for number, output in zip(group, made, strict=True):
            outputs[backward.outputs[number]] = output
    call.results = tuple(map(ref, outputs))
    return tuple(outputs)


def _own_memory(values: Tensors, saved: Tensors, tensors: Tensors, function: Differentiable) -> Tensors:
    """The outputs as tensors that the caller may write into where it may with those of the program.

    If it writes into what was saved, the program is run again for its gradients; if that cannot be, it gets copies.
    """
    kept = set(map(storage_of, saved))
    handed = function.effects.stores.handed
    others = [value for number, value in enumerate(values) if number not in handed]
    shared = Counter(storages_of((*others, *read_by(function, tensors))))

    def own(number: int, value: Tensor) -> Tensor:
        if number in handed or shared[storage_of(value)] > 1:
            return value  # as it is in the program; torch refuses what it cannot follow
        if storage_of(value) in kept:
            is_copied = is_view(value) or function.learned.writes or not function.is_repeatable
            return as_lazy(laid_out(value, value.stride()), value.is_conj(), value.is_neg()) if is_copied else value
        return value.data if is_view(value) else value

    return tuple(own(number, value) for number, value in enumerate(values))


class _Root(torch.autograd.Function):
    """Where the gradients of all outputs come together."""

    @staticmethod
    def forward(ctx: Any, call: DifferentiatedCall, saved: list[Tensor], *wanted: Tensor) -> Tensor:  # pyright: ignore
        ctx.call = call
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        return torch.empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore
        # torch.compile may follow a backward pass that is called between its graphs.
        if torch.compiler.is_dynamo_compiling():
            return run_between_graphs(_Root.backward, (ctx, _), {})
        call: DifferentiatedCall = ctx.call
        cotangents = call.collect()
        if all(one is None for one in cotangents):  # a pass that ended on the way here
            return (None, None, *(None for _ in call.function.backward.places))
        return (None, None, *call.derive(ctx, cotangents).gradients)


class _Outputs(torch.autograd.Function):
    """Outputs on the way to the root, and to the inner outputs that they were computed from."""

    @staticmethod
    def forward(  # pyright: ignore
        ctx: Any, call: DifferentiatedCall, numbers: Any, values: Tensors, token: Tensor, probe: Tensor, *inner: Tensor
    ) -> Tensors:
        ctx.call, ctx.numbers, ctx.root, ctx.inner = call, numbers, token.grad_fn, inner
        ctx.set_materialize_grads(False)
        return values

    @staticmethod
    def backward(ctx: Any, *totals: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore
        if torch.compiler.is_dynamo_compiling():
            return run_between_graphs(_Outputs.backward, (ctx, *totals), {})
        call: DifferentiatedCall = ctx.call
        group, before = ctx.numbers
        own = [call.keep(number, total) for number, total in zip(group, totals, strict=True)]
        handed: Gradients = (None,) * len(before)
        if before and own[0] is not None and _is_observed(ctx.inner):
            handed = call.hand_back(ctx.root, group[0], own[0], before)
        return (None,) * 5 + handed


def _is_observed(tensors: Tensors) -> bool:
    """Whether the gradient of one of them is looked at, or may be: where only some gradients are asked for."""
    looked_at = any(hooks_of(tensor) or tensor.retains_grad for tensor in tensors)
    return looked_at or not will_run(_PROBE_NODE)
