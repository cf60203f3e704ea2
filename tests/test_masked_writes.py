"""Layers that mask their own weight whenever they are called: the weight has the zeros of the mask, from then on."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve

N = 8


class Masked(nn.Linear):
    """Masks its weight by `write` at each call; entry (i, j) of the mask is 1 where output i may read input j."""

    mask: Tensor

    def __init__(self, write: Callable[["Masked"], None], diagonal: int) -> None:
        super().__init__(N, N)
        generator = torch.Generator().manual_seed(diagonal + 2)
        with torch.no_grad():
            self.weight.copy_(torch.randn(N, N, generator=generator))
        self.write, self.diagonal = write, diagonal
        self.register_buffer("mask", torch.ones(N, N).tril(diagonal))

    def forward(self, x: Tensor) -> Tensor:
        self.write(self)
        return super().forward(x)


def in_place(layer: Masked) -> None:
    layer.weight.data *= layer.mask


def without_grad(layer: Masked) -> None:
    with torch.no_grad():
        layer.weight.mul_(layer.mask)


def set_data(layer: Masked) -> None:
    layer.weight.data = layer.mask * layer.weight.data


def set_where(layer: Masked) -> None:
    layer.weight.data = torch.where(layer.mask == 1, layer.weight.data, torch.tensor(0.0))


def copy_into(layer: Masked) -> None:
    with torch.no_grad():
        layer.weight.copy_(layer.weight * layer.mask)


def fill_rows(layer: Masked) -> None:
    for row in range(N):
        layer.weight.data[row, row + 1 + layer.diagonal :] = 0


def fill_all(layer: Masked) -> None:
    with torch.no_grad():
        layer.weight[:] = layer.weight * layer.mask


def clamp_and_mask(layer: Masked) -> None:
    layer.weight.data.clamp_(-1, 1)
    layer.weight.data.mul_(layer.mask)


SPELLINGS: dict[str, Callable[[Masked], None]] = {
    "data *=": in_place,
    "no_grad mul_": without_grad,
    "data =": set_data,
    "data = where": set_where,
    "copy_": copy_into,
    "rows": fill_rows,
    "[:] =": fill_all,
    "data.mul_": lambda layer: layer.weight.data.mul_(layer.mask),
    "bool mask": lambda layer: layer.weight.data.mul_(layer.mask.bool()),
    "data[mask == 0]": lambda layer: layer.weight.data.__setitem__(layer.mask == 0, 0),
    "masked_fill_": lambda layer: layer.weight.data.masked_fill_(layer.mask == 0, 0),
    "tril_": lambda layer: layer.weight.data.tril_(layer.diagonal),
    "detach().mul_": lambda layer: layer.weight.detach().mul_(layer.mask),
    "1 - mask": lambda layer: layer.weight.data.mul_(1 - (1 - layer.mask)),
}


def sampler(write: Callable[[Masked], None], *between: nn.Module) -> nn.Module:
    class Sampler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(Masked(write, -1), *between, Masked(write, 0))

        def forward(self, u: Tensor) -> Tensor:
            x = torch.zeros_like(u)
            for i in range(N):
                x[:, i] = torch.tanh(self.net(x)[:, i] + u[:, i])
            return x

    return Sampler()


def causal(fast: fxsolve.Compiled) -> list[str]:
    return [loop.causal for loop in fast.report().loops]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_weight_that_is_masked_at_each_call_is_proved_causal(name: str) -> None:
    theirs = sampler(SPELLINGS[name], nn.Tanh())
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule="jacobi")
    for call in range(4):
        with torch.no_grad():
            if call == 2:
                for one in (ours, theirs):
                    one.net[0].weight.normal_(generator=torch.Generator().manual_seed(call))
            u = torch.randn(3, N)
            assert torch.allclose(fast(u), theirs(u), atol=1e-6)
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert "jacobi(loop0" in fast.report().schedule
    assert "proved" in causal(fast)
    assert len(fast.entries) == 1


def test_writes_that_settle_only_in_part_are_carried_and_proved_all_the_same() -> None:
    theirs = sampler(clamp_and_mask, nn.Tanh())
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule="jacobi")
    for _ in range(3):
        with torch.no_grad():
            u = torch.randn(3, N)
            assert torch.allclose(fast(u), theirs(u), atol=1e-6)
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert "proved" in causal(fast)


def decay(layer: Masked) -> None:
    layer.weight.data.mul_(0.5 + 0.5 * layer.mask)


def flip(layer: Masked) -> None:
    layer.weight.data = layer.weight.data.flip(0)


def negate(layer: Masked) -> None:
    layer.weight.data.mul_(1 - 2 * layer.mask)


def turn(layer: Masked) -> None:
    layer.weight.data[:] = layer.weight.data.roll(1, 0)


@pytest.mark.parametrize("write", [decay, flip, negate, turn])
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_a_write_that_changes_something_each_time_is_made_each_time(
    write: Callable[[Masked], None], schedule: str
) -> None:
    theirs = sampler(write, nn.Tanh())
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule=schedule)
    for _ in range(3):
        with torch.no_grad():
            u = torch.randn(3, N)
            assert torch.equal(fast(u), theirs(u))
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert fast.report().status == "emitted"
    assert not any("left out" in note for note in fast.report().notes)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("how", ["load_state_dict", "data ="])
def test_another_mask_is_noticed(schedule: str, how: str) -> None:
    theirs = sampler(in_place, nn.Tanh())
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule=schedule)
    for call in range(6):
        mask = {2: torch.ones(N, N).tril(-2), 4: torch.ones(N, N) * 0.5}.get(call)
        for one in (ours, theirs) if mask is not None else ():
            if how == "data =":
                one.net[0].mask.data = mask.clone()
            else:
                one.load_state_dict({**one.state_dict(), "net.0.mask": mask})
        with torch.no_grad():
            u = torch.randn(3, N)
            assert torch.allclose(fast(u), theirs(u), atol=1e-6)
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
        again = "recorded again: a tensor that a proof used changed" in fast.report().notes
        assert again == (call > 1)
    assert fast.report().status == "emitted"


class MaskedConv(nn.Conv2d):
    def __init__(self, kind: str, *channels: int) -> None:
        super().__init__(*channels, 3, padding=1)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data[:, :, 1, 1 + (self.kind == "B") :] = 0
        self.weight.data[:, :, 2:] = 0
        return super().forward(x)


def test_a_kernel_that_is_cut_at_each_call_is_proved_causal() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(MaskedConv("A", 1, 4), nn.ReLU(), MaskedConv("B", 4, 1))
    ours = copy.deepcopy(theirs)

    def sample(net: nn.Module, u: Tensor) -> Tensor:
        x = torch.zeros_like(u)
        for i in range(4):
            for j in range(4):
                x[:, :, i, j] = torch.tanh(net(x)[:, :, i, j] + u[:, :, i, j])
        return x

    fast = fxsolve.compile(lambda u: sample(ours, u), backend="eager", schedule="jacobi")
    for _ in range(3):
        with torch.no_grad():
            u = torch.randn(2, 1, 4, 4)
            assert torch.allclose(fast(u), sample(theirs, u), atol=1e-6)
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert "proved" in causal(fast)
    assert "jacobi" in fast.report().schedule


@pytest.mark.parametrize("name", ["data *=", "data =", "data[mask == 0]"])
def test_gradients_through_masked_weights_are_those_of_the_program(name: str) -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Masked(SPELLINGS[name], 0)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(N):
                x = torch.tanh(self.layer(x))
            return x

    theirs = Chain()
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    for _ in range(4):
        x = torch.randn(3, N)
        for one, run in ((ours, fast), (theirs, theirs)):
            one.zero_grad()
            run(x).square().sum().backward()
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for one, other in pairs:
            assert one.grad is not None
            assert other.grad is not None
            assert torch.allclose(one.grad, other.grad, rtol=1e-5, atol=1e-6)
            with torch.no_grad():
                one -= 0.1 * one.grad
                other.copy_(one)
    assert fast.report().status == "emitted"
    assert any("left out" in note for note in fast.report().notes)


def test_the_mask_of_a_temporary_is_found_too() -> None:
    weight, mask = nn.Parameter(torch.randn(N, N)), torch.ones(N, N).tril(-1)

    def sample(u: Tensor) -> Tensor:
        x, w = torch.zeros_like(u), weight.clone()
        for i in range(N):
            w *= mask
            x[:, i] = torch.tanh(F.linear(x, w)[:, i] + u[:, i])
        return x

    fast = fxsolve.compile(sample, backend="eager", schedule="jacobi")
    with torch.no_grad():
        for u in (torch.randn(3, N), torch.randn(3, N)):
            assert torch.allclose(fast(u), sample(u), atol=1e-6)
        assert "proved" in causal(fast)
        mask.fill_(1).tril_(-3)
        assert torch.allclose(fast(u), sample(u), atol=1e-6)
    assert any("recorded again" in note for note in fast.report().notes)


def test_a_number_that_takes_the_place_of_nan_may_be_replaced_itself() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(N))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(N):
                self.bias.data.copy_(torch.nan_to_num(self.bias.data, nan=torch.inf, posinf=2.0))
                x = torch.tanh(x) / self.bias
            return x

    theirs = Chain()
    ours = copy.deepcopy(theirs)
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    with torch.no_grad():
        for k in range(4):
            x = torch.randn(3, N)
            for one in (ours, theirs):
                one.bias[k] = torch.nan if k > 1 else 3.0
            assert torch.equal(fast(x), theirs(x))
            assert torch.equal(ours.bias, theirs.bias)
    assert fast.report().status == "emitted"
