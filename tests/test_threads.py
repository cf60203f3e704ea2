"""While programs are compiled, a thread that does something else notices nothing of it."""

import gc
import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]

import fxsolve

T, B, N = 24, 2, 4
LOG = logging.getLogger("torch._subclasses.fake_tensor")
CALL, ATTRIBUTE = nn.Module.__call__, nn.Module.__getattr__


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.count = nn.GRUCell(N, N), 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        h = x.new_zeros(B, N)
        for x_t in x:
            h = self.cell(x_t, h)
        return h


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(N, 2, 8, batch_first=True).eval()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.tanh(self.layer(x)) * 0.5
        return x


def unbatched(x: Tensor) -> Tensor:
    """`renorm` has no batching rule."""
    h = x[0]
    for x_t in x:
        h = torch.renorm(h, 2, 0, 1.0) + x_t
    return h


def work(end: threading.Event, look: Callable[[], None], failed: list[BaseException]) -> None:
    try:
        while not end.is_set():
            look()
    except BaseException as error:
        failed.append(error)


@contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """In the body another thread looks again and again; its first error is raised."""
    end, failed = threading.Event(), []
    thread = threading.Thread(target=work, args=(end, look, failed))
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if failed:
        raise failed[0]


def compile_all(schedules: tuple[str, ...] = ("gs", "jacobi", "newton")) -> list[Any]:
    """Record, batch, linearize and emit; each program at its second call as emitted."""
    made = []
    for schedule in schedules:
        for program in (Gru(), unbatched, Attending()):
            fast = fxsolve.compile(program, backend="eager", schedule=schedule)
            with torch.set_grad_enabled(isinstance(program, Gru)):
                for _ in range(2):
                    x = torch.ones(T, B, N) * 0.1
                    torch.testing.assert_close(fast(x), fast.program(x), rtol=1e-4, atol=1e-5)
            made.append(fast)
    return made


def look_at_the_fallback() -> None:
    assert _functorch._is_vmap_fallback_enabled()
    x = torch.ones(3, 2, 2)
    assert torch.equal(
        torch.vmap(lambda one: torch.renorm(one, 2, 0, 1.0))(x), torch.renorm(x[0], 2, 0, 1.0).expand(3, 2, 2)
    )


def look_at_the_collector() -> None:
    assert gc.isenabled()


def look_at_modules() -> None:
    """As `make_fx` replaces them."""
    assert nn.Module.__call__ is CALL
    assert nn.Module.__getattr__ is ATTRIBUTE
    assert not torch.fx._symbolic_trace.is_fx_tracing()


def look_at_the_log() -> None:
    assert not LOG.disabled
    shown: list[Any] = []
    handler = logging.Handler()
    handler.emit = shown.append
    LOG.addHandler(handler)
    LOG.error("seen")
    LOG.removeHandler(handler)
    assert any(record.getMessage() == "seen" for record in shown)


def look_at_layers() -> None:
    with torch.overrides.BaseTorchFunctionMode():
        assert torch.overrides.has_torch_function((torch.ones(1),))
    assert not torch.overrides.has_torch_function((torch.ones(1),))


LOOKS = (look_at_the_fallback, look_at_the_collector, look_at_modules, look_at_the_log, look_at_layers)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_another_thread_sees_the_process_as_it_was() -> None:
    def look() -> None:
        for one in LOOKS:
            one()

    look()
    with watching(look):
        made = compile_all()
    assert {str(fast.schedule).partition("(")[0] for fast in made} == {"gs"}
    methods = {one for fast in made for one in ("jacobi", "newton") if one in str(fast.schedule)}
    assert methods == {"jacobi", "newton"}
    look()


def test_a_program_that_draws_nothing_sets_no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread could have drawn from it meanwhile, and would draw the same numbers again."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a generator is set")

    for owner, name in ((torch, "set_rng_state"), (random, "setstate"), (np.random, "set_state")):
        monkeypatch.setattr(owner, name, refuse)
    assert all(str(fast.schedule) != "original" for fast in compile_all(("gs",)))


def test_a_thread_that_calls_torch_compile_is_not_disturbed() -> None:
    """It would be told that it traces symbolically, which `make_fx` says of the whole process."""
    whole = torch.compile(lambda x: torch.tanh(x) * 2, backend="eager")
    x = torch.ones(3)
    whole(x)
    expected = torch.tanh(x) * 2

    def look() -> None:
        assert torch.equal(whole(x), expected)

    with watching(look):
        compile_all(("jacobi", "newton"))


def test_a_class_attribute_that_another_thread_sets_meanwhile_stays_set() -> None:
    class Counting(nn.Module):
        count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            if threading.active_count() > before:
                meanwhile.set()
                done.wait(5)
            for _ in range(8):
                x = torch.tanh(x) + 0.1
            return x

    before, meanwhile, done = threading.active_count(), threading.Event(), threading.Event()
    fast = fxsolve.compile(Counting(), backend="eager", schedule="gs")
    with torch.no_grad():
        fast(torch.ones(2))  # shows that the number is counted
        setter = threading.Thread(target=lambda: (meanwhile.wait(5), setattr(Counting, "count", 7), done.set()))
        setter.start()
        fast(torch.ones(3))
        setter.join()
    assert vars(Counting)["count"] == 7
