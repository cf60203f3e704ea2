"""Every kind of read is said in one line."""

import pytest
import torch
from torch import fx, nn

from fxsolve.ir.spec import Invariant, Lag, Prefix, Read, Repeat, Slices, Stacked, Table
from fxsolve.report.reads import describe_reads, ends_text


def repeat_of(read: Read) -> Repeat:
    graph = fx.Graph()
    graph.output((graph.call_function(torch.tanh, (graph.placeholder("v"),)),))
    return Repeat("cell", fx.GraphModule(nn.Module(), graph), 5, (read,), ())


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (Invariant("w"), "v: invariant w"),
        (Stacked(("a", "b", "c")), "v: stacked of a .. c (3), one per step"),
        (Slices("x", 1, (4, 3, 2, 1, 0)), "v: slices of x, dim 1, entry 4..0 by -1"),
        (Table((0, 2, 4, 6, 8)), "v: table 0..8 by 2"),
        (Lag(0, ("h0",)), "v: lag 1, from h0"),
        (Lag(0, ("h0", "h1")), "v: lag 2, from h0, h1"),
        (Prefix(0, "x0", 1, (0, 1, 2)), "v: prefix of x0, dim 1, entries written before; step t writes entry 0..2"),
    ],
)
def test_each_kind_of_read_has_one_readable_line(read: Read, line: str) -> None:
    assert describe_reads(repeat_of(read)) == (line,)


def test_many_names_are_shortened_to_the_first_and_the_last() -> None:
    assert ends_text(()) == ""
    assert ends_text(("a", "b")) == "a, b"
    assert ends_text(tuple(f"w{i}" for i in range(1500))) == "w0 .. w1499 (1,500)"
