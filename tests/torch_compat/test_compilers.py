"""Imports of the compiler leave those of others alone; what it has traced and compiled is found on disk again."""

import copy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.torch_compat import compilers


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """How to call off what waits for a module that is not there yet."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(compilers, "_FRAMES", "not_there.frames")
    return compilers.call_with_stances(lambda: None)


class _Seen(MetaPathFinder):
    def __init__(self, names: list[str], function: Callable[[], object]) -> None:
        self._names = names
        self._function = function

    def find_spec(self, fullname: str, *_: Any) -> None:
        self._names.append(fullname)
        self._function()


def test_an_import_during_which_it_is_called_off_asks_every_finder(waiting: Callable[[], object]) -> None:
    seen: list[str] = []
    sys.meta_path += [_Seen([], waiting), _Seen(seen, lambda: None)]
    with pytest.raises(ModuleNotFoundError):
        __import__("not_there_either")
    assert seen == ["not_there_either"]


def test_a_program_may_take_all_finders_away_meanwhile(waiting: Callable[[], object]) -> None:
    sys.meta_path[:] = sys.meta_path[1:]
    before = list(sys.meta_path)
    waiting()
    assert sys.meta_path == before


def test_a_graph_that_calls_methods_is_traced_and_compiled_once_for_all_processes() -> None:
    from torch._dynamo.utils import counters

    def step(state: Tensor, place: Tensor) -> tuple[Tensor]:
        place.copy_(state.expand((2, 3)).contiguous())
        return (torch.sin(state) + place,)

    graph, state = fx.symbolic_trace(step), torch.tensor([[1.0], [2.0]])
    compilers.compile_by_inductor(copy.deepcopy(graph), [state, torch.zeros(2, 3)])
    before = counters["inductor"]["fxgraph_cache_hit"]
    again = compilers.compile_by_inductor(copy.deepcopy(graph), [state, torch.zeros(2, 3)])
    assert counters["inductor"]["fxgraph_cache_hit"] == before + 1
    place = torch.zeros(2, 3)
    torch.testing.assert_close(again(state, place)[0], torch.sin(state) + state.expand(2, 3))
    assert torch.equal(place, state.expand(2, 3))


def test_code_runs_in_grad_mode_too_and_gives_no_gradients() -> None:
    graph = fx.symbolic_trace(lambda x, w: (torch.mm(x, w).tanh(),))
    x, w = torch.randn(3, 4), torch.randn(4, 5, requires_grad=True)
    with torch.no_grad():
        code = compilers.compile_by_inductor(graph, [x, w])
        expected = torch.mm(x, w).tanh()
    (found,) = code(x, w)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


def test_a_long_chain_of_elementwise_steps_is_one_kernel() -> None:
    from torch._inductor import metrics

    def steps(x: Tensor, *places: Tensor) -> tuple[()]:
        for place in places:
            x = torch.tanh(x * 0.9 + torch.sigmoid(x))
            place.copy_(x)
        return ()

    names = ", ".join(f"place{t}" for t in range(48))
    graph = fx.symbolic_trace(eval(f"lambda x, {names}: steps(x, {names})", {"steps": steps}))
    places = [torch.empty(64) for _ in range(48)]
    metrics.reset()
    with torch.no_grad():
        code = compilers.compile_by_inductor(graph, [torch.randn(64), *places])
    assert metrics.generated_kernel_count == 1
    assert code(torch.zeros(64), *places) == ()


@torch.no_grad()
def test_what_is_written_into_a_given_tensor_is_read_there_if_it_lies_there_as_it_was() -> None:
    def steps(x: Tensor, w: Tensor, plain: Tensor, wide: Tensor, turned: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        before = kept * 2
        for place in (plain, wide, turned, kept):
            x = torch.tanh(x @ w)
            place.copy_(x)
        x = torch.tanh(x @ w)
        plain.copy_(x)
        wide.copy_(x.sum(0))
        return x, before

    x, w = torch.randn(3, 3), torch.randn(3, 3)
    graph = fx.symbolic_trace(steps)
    places = [torch.randn(3, 3), torch.randn(2, 3, 3), torch.randn(3, 3).t(), torch.randn(3, 3)]
    code = compilers.compile_by_inductor(graph, [x, w, *places])
    for _ in range(2):
        ours, theirs = ([place.clone() for place in places] for _ in range(2))
        found, expected = code(x, w, *ours), steps(x, w, *theirs)
        for one, other in zip((*found, *ours), (*expected, *theirs), strict=True):
            torch.testing.assert_close(one, other)
        assert all(found[0].data_ptr() != place.data_ptr() for place in ours)  # it is the caller's own


def test_complex_numbers_are_compiled_around_without_a_warning() -> None:
    def step(state: Tensor, place: Tensor) -> tuple[Tensor]:
        place.copy_(state * state.conj() + 1j)
        return (place * state,)

    given = [torch.tensor([1 + 2j, -0.5j]), torch.zeros(2, dtype=torch.complex64)]
    found = compilers.compile_by_inductor(fx.symbolic_trace(step), given)(*given)
    torch.testing.assert_close(found[0], (given[0] * given[0].conj() + 1j) * given[0])


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="tries vectors of x86 processors")
def test_one_kind_of_vectors_is_tried_and_narrower_ones_are_known_by_it() -> None:
    """In a process of its own, whatever this one has compiled."""
    code = """
        from torch._inductor import cpu_vec_isa
        from fxsolve.torch_compat import compilers

        tried, before = [], cpu_vec_isa.VecISA.check_build

        def check(kind, code):
            tried.append((str(kind), code))
            return before(kind, code)

        cpu_vec_isa.VecISA.check_build = check
        compilers._try_instructions()
        known = list(map(str, cpu_vec_isa.valid_vec_isa_list()))
        assert [kind for kind, code in tried if code == cpu_vec_isa.VecISA._avx_code] == known[:1], tried
        assert known[-1] == "avx2"
        assert str(cpu_vec_isa.pick_vec_isa()) == known[0]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
