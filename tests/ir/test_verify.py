"""Every broken law of a system is named with its equation."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import (
    AllSteps,
    Block,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Read,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    Write,
)
from fxsolve.ir.verify import verify_system
from tests.ir.samples import inputs, make_body, systems


@settings(max_examples=60, deadline=None)
@given(systems())
def test_a_system_that_can_be_evaluated_is_accepted(system: System) -> None:
    verify_system(system)
    assert len(evaluate(system, inputs())) == len(system.outputs)


@settings(max_examples=60, deadline=None)
@given(systems(least=1))
def test_an_equation_written_twice_is_refused(system: System) -> None:
    with pytest.raises(PartitionError, match=f"two equations are named {system.equations[0].name}"):
        verify_system(replace(system, equations=(*system.equations, system.equations[0])))


def first() -> Block:
    return Block("first", make_body(1, results=2), ("u",), ("a", "b"))


def cell(*reads: Read, writes: tuple[Write, ...] = (), length: int = 3) -> Repeat:
    matrices = tuple(number for number, read in enumerate(reads) if isinstance(read, Prefix))
    return Repeat("cell", make_body(len(reads), matrices, results=2), length, reads, writes, "model.py:7")


def system(*equations: Block | Repeat, outputs: tuple[str, ...] = ()) -> System:
    return System(("u", "w", "m"), equations, outputs)


BAD = [
    (system(first(), outputs=("c",)), "the output c of the system is never written"),
    (system(cell(Invariant("a")), first()), r"cell \(model.py:7\) reads a before it is written"),
    (system(first(), cell(writes=(AllSteps("b", 0),))), r"cell \(model.py:7\) writes b, which has a value already"),
    (system(replace(first(), outputs=("a", "u"))), "first writes u, which has a value already"),
    (system(replace(first(), outputs=("a", "a"))), "first writes a, which has a value already"),
    (System(("u", "u"), (), ()), "two inputs of the system have one name"),
    (system(replace(first(), name="gs")), "an equation cannot be named 'gs'"),
    (system(replace(first(), name="a b")), "an equation cannot be named 'a b'"),
    (system(replace(first(), inputs=("u", "w"))), "the body of first takes 1 values, but 2 are read"),
    (system(replace(first(), outputs=("a",))), "the body of first returns 2 values, but 1 are written"),
    (
        system(replace(cell(Invariant("u")), reads=())),
        r"the body of cell \(model.py:7\) takes 1 values, but 0 are read",
    ),
    (system(cell(length=0)), "has 0 steps; a repeat needs at least one"),
    (system(cell(Lag(0, ()))), r"read 0 of cell \(model.py:7\) has distance 0"),
    (system(cell(Invariant("u"), Lag(2, ("u",)))), "read 1 of cell .* refers to output 2 of 2"),
    (system(cell(Lag(-1, ("u",)))), "refers to output -1 of 2"),
    (system(cell(Prefix(2, "m", 0, (0, 1, 2)))), "refers to output 2 of 2"),
    (system(cell(Prefix(0, "m", 0, (0, 1, 1)))), "writes one entry of the buffer twice"),
    (system(cell(Prefix(0, "m", 0, (0, 1)))), "has 2 entries for 3 steps"),
    (system(cell(Stacked(("u", "w")))), "has 2 entries for 3 steps"),
    (system(cell(Slices("m", 0, (0, 1, 2, 3)))), "has 4 entries for 3 steps"),
    (system(cell(Table(()))), "has 0 entries for 3 steps"),
    (system(cell(writes=(LastStep("h", 2),))), "names output 2 of 2 as h"),
    (system(cell(Invariant("u"), writes=(FinalBuffer("f", 0),))), "names read 0 as f, which is no buffer"),
    (system(cell(writes=(FinalBuffer("f", 0),))), "names read 0 as f, which is no buffer"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_every_broken_law_is_named_with_its_equation(bad: System, message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        verify_system(bad)


def test_the_good_twins_of_the_broken_systems_are_accepted() -> None:
    reads = (Lag(1, ("u", "w")), Prefix(0, "m", 0, (2, 0, 1)), Stacked(("a", "u", "w")), Table((1, 2, 3)))
    writes = (FinalBuffer("f", 1), LastStep("h", 1), AllSteps("hs", 0))
    verify_system(system(first(), cell(*reads, writes=writes), outputs=("f", "u", "hs")))


def test_a_body_that_returns_no_tuple_is_refused() -> None:
    body = fx.symbolic_trace(lambda u: u + 1)
    with pytest.raises(PartitionError, match="a body must return a tuple"):
        verify_system(System(("u",), (Block("sine", body, ("u",), ("v",)),), ()))
