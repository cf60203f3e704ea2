"""What a system computes, as digests: equal ones tell, in another process too, that a decision is about this system."""

import hashlib
from collections.abc import Iterator, Sequence

from torch import fx

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Equation, Repeat, System
from fxsolve.torch_compat.operators import OpOverload

Fingerprint = tuple[tuple[str, str], ...]  # the name of each equation, and a digest of what it computes
_DIGITS = 16


def fingerprint(system: System) -> Fingerprint:
    """The equations with their digests; behind them what the system is given, and what it gives.

    Digests tell ops, numbers, shapes, strides, dtypes and devices, and who reads what; no values, and no source lines.
    """
    ends = repr((system.inputs, system.outputs))
    return (*((one.name, _digest(_parts(one))) for one in system.equations), ("inputs and outputs", _digest([ends])))


def digest(known: Sequence[object]) -> str:
    """One digest of values whose `repr` tells them apart."""
    return _digest(map(repr, known))


def _parts(equation: Equation) -> Iterator[str]:
    yield type(equation).__name__
    yield from _ops(equation.body)
    if not isinstance(equation, Repeat):
        yield repr((equation.inputs, equation.outputs))
        return
    yield repr((equation.length, equation.reads, equation.writes, equation.until))
    for inner in loops_inside(equation):
        yield from _parts(inner)


def _ops(body: fx.GraphModule) -> Iterator[str]:
    for node in body.graph.nodes:
        # Of an op with its overload; of what Python has, without an address.
        named = isinstance(node.target, str | OpOverload)
        target = str(node.target) if named else getattr(node.target, "__name__", type(node.target).__name__)
        yield repr((node.op, target, node.args, node.kwargs, node.meta.get("spec")))


def _digest(parts: Iterator[str] | Sequence[str]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode())
        found.update(b"\0")
    return found.hexdigest()[:_DIGITS]
