"""What a system computes, as digests: equal ones tell, in another process too, that a decision is about this system."""

import hashlib
from collections.abc import Iterator, Sequence

from torch import fx

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Equation, Repeat, System, Table
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


def step_digest(repeat: Repeat) -> str:
    """Of what a step computes and of how its reads change with it, whatever they are called; with its source lines.

    Steps of equal digests are batched to equal calls.
    """
    kinds = (repr(read) if isinstance(read, Table) else type(read).__name__ for read in repeat.reads)
    sources = (repr(node.meta.get("source")) for node in repeat.body.graph.nodes)
    return _digest(iter((str(repeat.length), *kinds, *_ops(repeat.body), *sources)))


def _ops(body: fx.GraphModule) -> Iterator[str]:
    number = {node: k for k, node in enumerate(body.graph.nodes)}
    for node in body.graph.nodes:
        target = "" if node.op == "placeholder" else _named(node.target)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: f"%{number[one]}")  # pyright: ignore
        yield repr((node.op, target, args, kwargs, node.meta.get("spec")))


def _named(target: object) -> str:
    """Of an op with its overload; of what Python has, without an address."""
    if isinstance(target, str | OpOverload):
        return str(target)
    return f"{type(target).__module__}.{getattr(target, '__module__', '')}.{getattr(target, '__name__', '')}"


def _digest(parts: Iterator[str] | Sequence[str]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode())
        found.update(b"\0")
    return found.hexdigest()[:_DIGITS]
