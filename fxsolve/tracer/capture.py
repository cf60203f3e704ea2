"""Capture: one real run of an unmodified PyTorch program becomes a `Program`."""

from collections.abc import Callable
from typing import Any

from torch import fx
from torch.fx._lazy_graph_module import _LazyGraphModule

from fxsolve.tracer.functionalize import functionalize
from fxsolve.tracer.program import Program
from fxsolve.tracer.record import Record, record


def capture(program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """Run `program(*args, **kwargs)` once, for real, and return it as a functional ATen graph.

    `example.outputs` holds the very tensors that the program returned; check against them before the caller has them.

    Raises:
        SideEffectError: the program changes an attribute that outlives the call, or a tensor by more than its values.
        CaptureError: the program cannot be recorded. In both cases it can still be run as if nothing had happened.
    """
    return _build(functionalize(record(program, args, kwargs)), _name(program))


def _build(record: Record, name: str) -> Program:
    # Generating code for a long graph takes longer than recording it, and is only needed if the module is called.
    module: fx.GraphModule = _LazyGraphModule(record.root, record.graph, name)
    return Program(
        module=module,
        roles=record.roles,
        draws=record.draws,
        guards=record.guards,
        output=record.output,
        example=record.example,
        grad=any(tensor.requires_grad for tensor in record.example.outputs),
        name=name,
        mutations=record.mutations,
        aliases=record.aliases,
    )


def _name(program: Callable[..., Any]) -> str:
    return getattr(program, "__name__", None) or type(program).__name__
