"""A program that communicates runs exactly once at each call, whatever fxsolve does; here in a group of one process."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import rpc
from torch.nn.parallel import DistributedDataParallel

import fxsolve
from fxsolve.capture.communication import HappenedError
from fxsolve.errors import CaptureError, CommunicationError
from fxsolve.runtime import group
from fxsolve.runtime.sources import settle

Use = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module", autouse=True)
def _group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Count:
    """Counts what leaves the process; no attribute or tensor tells of it."""

    def __init__(self) -> None:
        self._store = dist.HashStore()

    def __call__(self) -> None:
        self._store.add("sent", 1)

    def read(self) -> int:
        """How much was sent since the last read."""
        found = self._store.add("sent", 0)
        self._store.add("sent", -found)
        return found


sent = Count()


@pytest.fixture(autouse=True)
def _nothing_sent() -> None:
    sent.read()


def _sum(x: Tensor) -> Tensor:
    total = x.detach().sum()
    dist.all_reduce(total)
    sent()
    return total


def _loop(x: Tensor, use: Use = _sum) -> Tensor:
    h = x.new_zeros(x.shape[0])
    for t in range(x.shape[1]):
        h = torch.tanh(h + x[:, t])
        if t % 8 == 7:
            h = h + use(h)
    return h


def _compile(program: Any, **options: Any) -> fxsolve.Compiled:
    return fxsolve.compile(program, backend="eager", **options)


@pytest.mark.parametrize("schedule", ["gs", "auto", "jacobi"])
@pytest.mark.parametrize("verify", ["first", "always"])
def test_what_is_sent_is_sent_once_at_each_call(schedule: str, verify: str) -> None:
    fast = _compile(_loop, schedule=schedule, verify=verify)
    for length in (16, 16, 16, 24, 32, 40):
        x = torch.randn(3, length)
        expected, wanted = _loop(x), sent.read()
        assert torch.equal(fast(x), expected)
        assert sent.read() == wanted == length // 8
    assert "c10d.allreduce_.default communicates with other processes" in fast.report().reason


def test_what_is_sent_from_a_certain_length_on_is_sent_once() -> None:
    fast = _compile(_loop, schedule="gs")
    for length, count in ((4, 0), (5, 0), (6, 0), (7, 0), (8, 1), (9, 1), (6, 0), (17, 2)):
        x = torch.randn(3, length)
        expected = _loop(x)
        sent.read()
        assert torch.equal(fast(x), expected)
        assert sent.read() == count
        assert fast.report().status == ("left alone" if count else "emitted")


def test_a_rehearsal_sends_nothing() -> None:
    fast = _compile(_loop, schedule="gs", dynamic_shapes=({1: torch.export.Dim("T", max=4096)},))
    x = torch.randn(2, 800)
    expected, wanted = _loop(x), sent.read()
    assert torch.equal(fast(x), expected)
    assert sent.read() == wanted
    assert "communicates with other processes" in fast.report().reason


def test_an_error_after_something_was_sent_is_raised_once() -> None:
    class ProblemError(Exception):
        pass

    def program(x: Tensor) -> Tensor:
        _loop(x)
        raise ProblemError("a problem of the program")

    fast = _compile(program)
    for _ in range(2):
        with pytest.raises(ProblemError, match="a problem of the program"):
            fast(torch.randn(2, 8))
        assert sent.read() == 1


def test_what_a_program_changes_and_sends_is_changed_once() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor, kept: list[Tensor]) -> Tensor:
            self.calls += 1
            h = _loop(x)
            self.mean.add_(h)
            kept.append(h)
            return h

    model, twin = Model(), Model()
    fast, kept, other = _compile(model, schedule="gs"), [], []
    for number in range(1, 5):
        x = torch.randn(3, 16)
        assert torch.equal(fast(x, kept), twin(x, other))
        assert model.calls == len(kept) == number
        assert torch.equal(model.mean, twin.mean)
        sent.read()


def test_a_number_that_is_read_after_something_was_sent_ends_no_run() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            h = _loop(x)
            return h + 1 if x.shape[1] >= 8 and self.calls > 1 else h

    model, twin = Model(), Model()
    fast = _compile(model, schedule="gs")
    for length, count in ((4, 0), (16, 2), (16, 2)):
        x = torch.randn(2, length)
        expected = twin(x)
        sent.read()
        assert torch.equal(fast(x), expected)
        assert (sent.read(), model.calls) == (count, twin.calls)
        assert fast.report().status == ("left alone" if count else "emitted")


def test_a_program_that_waits_at_its_next_call_is_told_of_communication_for_ever() -> None:
    class Model(nn.Module):
        work: Any = None

        def forward(self, x: Tensor) -> Tensor:
            if self.work is not None:
                self.work.wait()
            self.total = x.sum()
            self.work = dist.all_reduce(self.total, async_op=True)
            sent()
            return 2 * x

    fast = _compile(Model())
    for _ in range(12):
        fast(torch.randn(2))
        assert sent.read() == 1
        assert "c10d.allreduce_.default communicates with other processes" in fast.report().reason


def test_a_caught_refusal_does_not_send_a_second_time() -> None:
    def program(x: Tensor) -> Tensor:
        with contextlib.suppress(CaptureError):
            x.data_ptr()
        return _loop(x)

    fast = _compile(program, schedule="gs")
    for _ in range(3):
        x = torch.randn(2, 8)
        expected, wanted = program(x), sent.read()
        assert torch.equal(fast(x), expected)
        assert sent.read() == wanted == 1
    assert "Tensor.data_ptr reads tensor values outside of torch" in fast.report().reason


def test_an_array_that_the_program_writes_into_is_its_own() -> None:
    def program(x: Tensor) -> Tensor:
        array = x.numpy()
        h = _loop(x)
        array += 1
        return h + x.sum()

    fast = _compile(program, schedule="gs")
    for _ in range(2):
        x, y = torch.ones(2, 8), torch.ones(2, 8)
        assert torch.equal(fast(x), program(y))
        assert torch.equal(x, y)
        assert sent.read() == 2


def test_a_capture_hands_out_what_the_run_gave() -> None:
    x = torch.randn(2, 8)
    with pytest.raises(HappenedError, match=r"test_communication.py:\d+: c10d.allreduce_") as caught:
        fxsolve.capture(_loop, x)
    assert sent.read() == 1
    assert torch.equal(caught.value.outcome.get(), _loop(x))


def test_a_backward_pass_is_refused_before_it_sends() -> None:
    def send(gradient: Tensor) -> Tensor:
        return gradient + 0 * _sum(gradient)

    def use(h: Tensor) -> Tensor:
        h = 2 * h
        h.register_hook(send)
        return h

    fast, w = _compile(lambda x: _loop(x, use), schedule="gs"), torch.randn(3, 16, requires_grad=True)
    for _ in range(3):
        fast(w).sum().backward()
        assert sent.read() == 2
    assert "communicates with other processes" in fast.report().reason


@pytest.mark.parametrize(
    "hidden",
    [lambda model: lambda x: model(x), lambda model: model.forward, lambda model: _Slots(model), lambda model: [model]],
    ids=["closure", "method", "slots", "list"],
)
def test_averaged_gradients_are_found_wherever_they_are(hidden: Callable[[Any], Any]) -> None:
    model = DistributedDataParallel(nn.Linear(3, 3))
    held = hidden(model)
    program = held if not isinstance(held, list) else lambda x: held[0](x)
    fast = _compile(lambda x: program(x) + 1, schedule="gs")
    fast(torch.randn(2, 3))
    assert re.search("DistributedDataParallel(, which)? communicates", fast.report().reason)


class _Slots:
    __slots__ = ("model",)

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x)


def test_a_wrapper_stays_as_it_is_for_its_hooks_and_its_other_users() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * _loop(x, torch.sin)

    model = DistributedDataParallel(Inner(), find_unused_parameters=True)
    names = {module: name for name, module in model.named_modules()}
    seen: list[str] = []
    model.register_forward_hook(lambda module, *_: seen.append(names[module]))
    inner, before = model.module, dict(vars(model))
    fast = _compile(model, schedule="gs")
    with torch.no_grad():
        x = torch.randn(2, 16)
        for _ in range(3):
            assert torch.equal(fast(x), model(x))
    assert model.module is inner is fast.module
    assert vars(model).keys() == before.keys()
    assert seen == [""] * 6
    assert [*fast.state_dict()] == ["module.scale"]
    assert fast.report().status == "emitted"
    assert fast.report().program == "DistributedDataParallel"
    # Nothing but the result keeps what is behind this call alive.
    fxsolve.compile(model, schedule="gs", backend="eager")(x).sum().backward()
    assert inner.scale.grad is not None


def test_a_wrapper_is_compiled_anew_around_another_module() -> None:
    model = DistributedDataParallel(nn.Linear(3, 3))
    fast, x = _compile(model), torch.randn(2, 3)
    fast(x)
    model.module = nn.Linear(3, 4)
    assert torch.equal(fast(x), model.module(x))


def _of_a_thread(h: Tensor) -> Tensor:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    thread = threading.Thread(target=lambda: future.set_result(2 * h.detach()))
    thread.start()
    return future.wait()


def _of_this_one(h: Tensor) -> Tensor:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(h)
    return torch.futures.wait_all([future.then(lambda one: 2 * one.value())])[0]


@pytest.mark.parametrize(("use", "status"), [(_of_a_thread, "left alone"), (_of_this_one, "emitted")])
def test_a_future_counts_where_another_thread_computes_its_value(use: Use, status: str) -> None:
    fast = _compile(lambda x: _loop(x, use), schedule="gs")
    for _ in range(3):
        x = torch.randn(2, 16)
        assert torch.equal(fast(x), _loop(x, use))
    assert fast.report().status == status
    assert ("a torch.futures.Future of another process or thread" in fast.report().reason) == (status != "emitted")


@pytest.mark.filterwarnings("ignore:You are using a Backend")
def test_remote_procedure_calls_are_made_once(tmp_path: Path) -> None:
    options = rpc.TensorPipeRpcBackendOptions(init_method=f"file://{tmp_path}/rpc", _transports=["uv"])
    rpc.init_rpc("self", rank=0, world_size=1, rpc_backend_options=options)
    try:
        reference = rpc.remote("self", _called, (torch.ones(2),))
        assert reference.to_here() is not None
        sent.read()
        calls: list[Use] = [
            lambda h: rpc.rpc_sync("self", _called, (h.detach(),)),
            lambda h: rpc.rpc_async("self", _called, (h.detach(),)).wait(),
            lambda h: rpc.remote("self", _called, (h.detach(),)).to_here(),
            lambda h: reference.to_here() + h,
        ]
        for number, use in enumerate(calls):
            fast = _compile(lambda x, use=use: _loop(x, use), schedule="gs")
            for _ in range(3):
                x = torch.randn(2, 16)
                expected, wanted = _loop(x, use), sent.read()
                assert torch.equal(fast(x), expected)
                assert sent.read() == wanted == (0 if number == 3 else 2)
            assert "a remote procedure call communicates with other processes" in fast.report().reason
    finally:
        rpc.shutdown()


def _called(x: Tensor) -> Tensor:
    sent()
    return 2 * x


def test_a_process_decides_by_itself_where_the_store_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Any:
        raise dist.DistStoreError("gone")

    own = group.Verdict("gs")
    monkeypatch.setattr(group, "default_store", gone)
    assert settle(group.Ballot("key"), lambda: (own, "made"), lambda _: pytest.fail("adopted")) == (own, "made")
    assert own.by == ""


def test_an_argument_that_is_spread_over_processes_is_refused() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    x = distribute_tensor(torch.randn(2, 8), init_device_mesh("cpu", (1,)), [Shard(0)])
    fast = _compile(lambda x: x.cumsum(1) + 1)
    assert torch.equal(fast(x).full_tensor(), (x.cumsum(1) + 1).full_tensor())
    assert fast.report().reason.startswith("an argument is a DTensor, which communicates between processes by itself")
    with pytest.raises(CommunicationError, match="input 0 is a DTensor"):
        fxsolve.capture(lambda x: x + 1, x)
