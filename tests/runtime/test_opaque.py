"""Between the graphs of torch.compile a function runs as it does without it."""

import pytest
import torch
from torch import Tensor

from fxsolve.runtime.opaque import run_between_graphs


def test_it_is_a_call() -> None:
    assert run_between_graphs(divmod, (7, 2), {}) == (3, 1)
    assert run_between_graphs(sorted, ([1, 2],), {"reverse": True}) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        run_between_graphs(divmod, (7, 0), {})


def test_nothing_is_followed_inside_of_it() -> None:
    seen: list[tuple[bool, type]] = []

    def note(x: Tensor) -> Tensor:
        seen.append((torch.compiler.is_compiling(), type(x)))
        return x + 1

    def program(x: Tensor) -> Tensor:
        return run_between_graphs(note, (x * 2,), {}) * 3

    x = torch.rand(3)
    graphs: list[torch.fx.GraphModule] = []

    def keep(module: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(module)
        return module

    compiled = torch.compile(program, backend=keep)
    assert torch.equal(compiled(x), program(x))
    assert seen == [(False, Tensor)] * 2
    assert len(graphs) == 2  # one before, and one behind


def test_where_one_graph_is_asked_for_the_error_says_what_to_do() -> None:
    compiled = torch.compile(lambda x: run_between_graphs(torch.neg, (x,), {}), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"leave out fullgraph=True, or hand torch\.compile the model itself"):
        compiled(torch.rand(3))
