"""Programs that communicate with other processes, in two processes: the same values and gradients on each."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import _functional_collectives as functional
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import fxsolve
from fxsolve.runtime import judging
from fxsolve.runtime.trial import CallSeconds
from tests.processes import run_together

STEPS = 9
Decided = tuple[str, str, str, tuple[str, ...], bool]  # of a report, and whether the value is right
compile_gs = partial(fxsolve.compile, schedule="gs", backend="eager")


class Speech(nn.Module):
    """A recurrence over 12 columns; `mix` is applied to its state at every fourth."""

    def __init__(self, mix: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.cell, self.head, self.unused = nn.GRUCell(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            if self.mix is not None and t % 4 == 3:
                h = self.mix(h)
        return self.head(self.norm(h))


class Held(nn.Module):
    """A module around another one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.out = inner, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x))


class Trained(NamedTuple):
    """How far values and gradients were from those of the program itself at worst, and what ran."""

    difference: float
    status: str
    reason: str
    schedule: str
    notes: tuple[str, ...]


def _train(
    make: Callable[[Callable[[nn.Module], nn.Module]], nn.Module],
    compile: Callable[[nn.Module], nn.Module] = compile_gs,
    report: Callable[[Any], Any] = lambda model: model,
    every: int = 1,
    columns: Callable[[int], int] = lambda step: 12,
) -> Trained:
    """Train `make(compile)` next to `make(identity)`; gradients are averaged and used at every so many steps only."""
    twins = [_seeded(make, one) for one in (lambda module: module, compile)]
    optimizers = [torch.optim.SGD(twin.parameters(), lr=0.05) for twin in twins]
    torch.manual_seed(1 + dist.get_rank())
    worst = 0.0
    for step in range(STEPS):
        x, is_last = torch.randn(3, columns(step), 4), step % every == every - 1
        found = [_step(twin, x, is_last) for twin in twins]
        worst = max(worst, *(float((a - b).abs().max()) for a, b in zip(*found, strict=True)))
        for optimizer in optimizers if is_last else ():
            optimizer.step()
            optimizer.zero_grad()
    seen = report(twins[1]).report()
    return Trained(worst, seen.status, seen.reason, seen.schedule, seen.notes)


def _seeded(make: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(*arguments)


def _step(model: Any, x: Tensor, is_last: bool) -> list[Tensor]:
    with nullcontext() if is_last else model.no_sync():
        y = model(x)
        y.square().sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(grads) in (6, 8, 10)
    return [y.detach(), *(_whole(grad).clone() for grad in grads)]


def _whole(grad: Any) -> Tensor:
    return grad.full_tensor() if hasattr(grad, "full_tensor") else grad


def _outside(compile: Any, **options: Any) -> nn.Module:
    return compile(DistributedDataParallel(Speech(), **options))


def _inside(compile: Any, **options: Any) -> nn.Module:
    return DistributedDataParallel(compile(Speech()), **options)


def _compressed(compile: Any) -> nn.Module:
    model = DistributedDataParallel(Speech(), find_unused_parameters=True)
    model.register_comm_hook(None, fp16_compress_hook)
    return compile(model)


def _average() -> dict[str, Trained]:
    unused, static = {"find_unused_parameters": True}, {"static_graph": True}
    module = {"report": lambda model: model.module}
    longer = {"columns": lambda step: 12 + 2 * ((step + dist.get_rank()) % 2)}
    return {
        "outside, an unused parameter": _train(partial(_outside, **unused)),
        "outside, accumulated": _train(partial(_outside, **unused), every=3),
        "outside, static graph": _train(partial(_outside, **static)),
        "outside, lengths that differ by process": _train(partial(_outside, **unused), **longer),
        "outside, compressed": _train(_compressed),
        "inside, an unused parameter": _train(partial(_inside, **unused), **module),
        "inside, accumulated": _train(partial(_inside, **unused), **module, every=3),
        "both": _train(lambda compile: compile(_inside(compile, **unused))),
    }


def _all_reduce(h: Tensor) -> Tensor:
    mean = h.detach().mean(0)
    dist.all_reduce(mean)
    return h - mean / 2


def _all_reduce_later(h: Tensor) -> Tensor:
    mean = h.detach().mean(0)
    future = dist.all_reduce(mean, async_op=True).get_future()  # pyright: ignore[reportOptionalMemberAccess]
    return h - future.wait()[0] / 2


def _functional(h: Tensor) -> Tensor:
    return h - functional.all_reduce(h.detach().mean(0), "sum", dist.group.WORLD) / 2


def _objects(h: Tensor) -> Tensor:
    gathered = [None, None]
    dist.all_gather_object(gathered, float(h.detach().sum()))
    return h - gathered[1 - dist.get_rank()]


def _exchange(h: Tensor) -> Tensor:
    other, mine = 1 - dist.get_rank(), h.detach().clone()
    theirs = torch.empty_like(mine)
    for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, mine, other), dist.P2POp(dist.irecv, theirs, other)]):
        work.wait()
    return h - theirs


class _SumOfGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _in_backward(h: Tensor) -> Tensor:
    return _SumOfGradients.apply(h)  # pyright: ignore[reportReturnType]


def _hooked(compile: Any) -> nn.Module:
    model = Speech()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda one: dist.all_reduce(one.grad) and None)
    return compile(model)


def _sharded(compile: Any) -> nn.Module:
    model = Speech()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return compile(model)


def _sharded_around(compile: Any) -> nn.Module:
    model = Held(compile(Speech()))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return model


def _harmless(h: Tensor) -> Tensor:
    return h + dist.get_rank() / dist.get_world_size()


def _communicate() -> dict[str, Trained]:
    mixes = (_all_reduce, _all_reduce_later, _functional, _objects, _exchange, _in_backward, _harmless)
    found = {mix.__name__: _train(lambda compile, mix=mix: compile(Speech(mix))) for mix in mixes}
    found["held"] = _train(lambda compile: compile(Held(DistributedDataParallel(Speech(), static_graph=True))))
    found["hooks"] = _train(_hooked)
    found["sharded"] = _train(_sharded)
    found["sharded around"] = _train(_sharded_around, report=lambda model: model.inner)
    return found


def _recurrence(x: Tensor, w: Tensor) -> Tensor:
    h = x.new_zeros(x.shape[0], 8)
    for t in range(x.shape[1]):
        h = torch.tanh(h @ w + x[:, t])
    return h


def _decide() -> list[Decided]:
    """Each process finds another form faster; the one with the number `first` decides before the other does."""
    emitted = 0.1 if dist.get_rank() == 0 else 10.0
    judging.race = lambda *_: CallSeconds(1.0, emitted)  # pyright: ignore[reportAttributeAccessIssue]
    return [_decide_in_turn(first) for first in range(2)]


def _decide_in_turn(first: int) -> Decided:
    fast = fxsolve.compile(_recurrence, backend="eager")
    torch.manual_seed(dist.get_rank())
    x, w = torch.randn(2, 10 + first, 8), torch.randn(8, 8) / 4
    if dist.get_rank() != first:
        dist.barrier()
    fast(x, w)
    if dist.get_rank() == first:
        dist.barrier()
    is_right = torch.allclose(fast(x, w), _recurrence(x, w), atol=1e-5)
    report = fast.report()
    return report.status, report.schedule, report.reason, report.notes, is_right


class Together(NamedTuple):
    """What one of the two processes found."""

    trained: dict[str, Trained]
    decided: list[Decided]


def _all() -> Together:
    """Everything in one group: most of the time of a process is what it imports."""
    return Together(_average() | _communicate(), _decide())


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[Together]:
    return run_together(_all, tmp_path_factory.mktemp("together"))


@pytest.mark.parametrize(
    "name",
    [
        "outside, an unused parameter",
        "outside, accumulated",
        "outside, static graph",
        "outside, lengths that differ by process",
        "outside, compressed",
        "inside, an unused parameter",
        "inside, accumulated",
        "both",
    ],
)
def test_averaged_gradients_are_those_of_the_program_at_every_step(together: list[Together], name: str) -> None:
    for found in (one.trained[name] for one in together):
        assert (found.difference, found.status) == (0, "emitted"), found
        assert "loop0[0:1" in found.schedule
        says = (
            "DistributedDataParallel runs as it is, at every call: compiled is the Speech inside of it" in found.notes
        )
        assert says == (not name.startswith("inside"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("_all_reduce", "test_distributed.py:"),
        ("_all_reduce", ": c10d.allreduce_.default communicates with other processes, which must happen exactly once"),
        ("_all_reduce_later", ": c10d.allreduce_.default communicates"),
        ("_functional", ": _c10d_functional.all_reduce.default communicates"),
        ("_objects", ": torch.distributed communicates"),
        ("_exchange", "communicates with other processes"),
        ("_in_backward", ": c10d.allreduce_.default communicates"),
        (
            "held",
            "inner is a DistributedDataParallel, which communicates between processes by itself; compile the module",
        ),
        ("held", "DistributedDataParallel(fxsolve.compile(module))"),
        ("hooks", "has a gradient hook before the call; in a group of processes it may communicate"),
        ("sharded", "the program is a FSDPModule, which communicates between processes by itself"),
        ("sharded", "compile modules inside of it that are not sharded by themselves, before fully_shard is called"),
    ],
)
def test_a_program_that_communicates_runs_once_at_each_call(together: list[Together], name: str, reason: str) -> None:
    for found in (one.trained[name] for one in together):
        assert (found.difference, found.status) == (0, "left alone"), found
        assert reason in found.reason


@pytest.mark.parametrize("name", ["_harmless", "sharded around"])
def test_what_only_asks_for_its_rank_or_lies_in_a_sharded_module_is_compiled(
    together: list[Together], name: str
) -> None:
    for found in (one.trained[name] for one in together):
        assert (found.difference, found.status) == (0, "emitted"), found


def test_processes_of_a_group_decide_as_the_first_of_them_did(together: list[Together]) -> None:
    zero, one = (process.decided for process in together)
    for first, status in enumerate(("emitted", "left alone")):
        assert zero[first] == one[first]
        assert zero[first][0] == status
        assert f"decided by process {first} of the group, as its first to decide" in zero[first][3]
        assert zero[first][4]
    assert one[1][2].startswith("sequential is best here: the emitted module takes 10.00 times as long")
