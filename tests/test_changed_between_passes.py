"""What is changed between a forward and a backward pass: an error by name where the program itself raises one."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import GradientError

STEPS, BATCH, N = 6, 2, 3
STATIC = torch.rand(N, dtype=torch.float64)


class Net(nn.Module):
    """A recurrence with parameters, buffers, an attribute and a closure tensor in every role that autograd knows."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.RNNCell(N, N), nn.Linear(N, N)
        self.U = nn.Parameter(torch.rand(N, N) / N)
        self.gain, self.shift = nn.Parameter(torch.rand(N)), nn.Parameter(torch.rand(N))
        self.register_buffer("scale", torch.rand(N))
        self.register_buffer("offset", torch.rand(N))
        self.factor = torch.rand(N, dtype=torch.float64)
        self.h: Tensor | None = None

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        for x_t in x:
            h = self.cell(x_t, h) @ self.U + self.shift
            h = torch.sigmoid(h * self.gain * self.scale + self.offset) * self.factor * STATIC
        return self.head(h)


FACTOR, SHARES = torch.rand(N, dtype=torch.float64), [torch.rand(N, dtype=torch.float64)]


def function(x: Tensor, h: Tensor) -> Tensor:
    for x_t in x:
        h = torch.tanh(h * FACTOR + x_t) * SHARES[0]
    return h


class Layers(nn.Module):
    """Layers with parameters of their own, which one loop reads from a stack of copies."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(N, N) for _ in range(STEPS))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return h + x[0]


class Keeping(nn.Module):
    """Reads what its last call has left on it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(N))
        self.register_buffer("kept", torch.rand(BATCH, N))
        self.h = torch.rand(BATCH, N, dtype=torch.float64)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = h * self.h * self.gain
        for x_t in x:
            h = torch.tanh(h * self.gain + x_t)
        self.h = h.detach().clone()
        return h


def step(net: nn.Module, *_: Tensor) -> None:
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    optimizer.step()
    optimizer.zero_grad()


def load(net: nn.Module, *_: Tensor) -> None:
    net.load_state_dict({name: value * 0.5 for name, value in net.state_dict().items()})


def write(name: str) -> Callable[..., None]:
    def change(net: nn.Module, x: Tensor, h: Tensor, kept: Tensor | None = None) -> None:
        found = {"x": x, "h": h, "STATIC": STATIC, "kept": kept}
        part: Any = net
        for key in name.split(".") if name not in found else ():
            part = part[int(key)] if key.isdigit() else getattr(part, key)
        with torch.no_grad():
            found.get(name, part).mul_(0.5)

    return change


def inputs(wants_grad: bool) -> tuple[Tensor, Tensor]:
    x, h = torch.rand(STEPS, BATCH, N, dtype=torch.float64), torch.rand(BATCH, N, dtype=torch.float64)
    return x.requires_grad_(wants_grad), h.requires_grad_(wants_grad)


def warm(kind: type[nn.Module], schedule: str, wants_grad: bool = True) -> tuple[Any, nn.Module]:
    torch.manual_seed(0)
    original = kind().double()
    fast = fxsolve.compile(copy.deepcopy(original), backend="eager", schedule=schedule)
    for _ in range(2):
        x, h = inputs(wants_grad)
        fast(x, h).sum().backward()
        original(x, h).sum().backward()
    assert str(fast.schedule) != "original", fast.report().reason
    fast.zero_grad()
    original.zero_grad()
    return fast, original


def differentiate(net: Any, change: Callable[..., None], wants_grad: bool) -> list[Tensor | None] | RuntimeError:
    """The gradients where what `change` does comes between the passes, or the error."""
    torch.manual_seed(1)
    x, h = inputs(wants_grad)
    loss = net(x, h).square().sum()
    before = STATIC.clone()
    change(net, x, h)
    try:
        loss.backward()
    except RuntimeError as error:
        return error
    finally:
        STATIC.data.copy_(before)
    return [x.grad, h.grad, *(p.grad for p in net.parameters())]


RAISING = {
    "an optimizer step": (Net, step, ("cell.weight_hh", "head.weight", "gain")),
    "a loaded state": (Net, load, ("cell.weight_hh", "U", "scale")),
    "a weight": (Net, write("cell.weight_hh"), ("cell.weight_hh",)),
    "a weight behind the loop": (Net, write("head.weight"), ("head.weight",)),
    "a matrix": (Net, write("U"), ("U",)),
    "a gain": (Net, write("gain"), ("gain",)),
    "a buffer": (Net, write("scale"), ("scale",)),
    "an attribute": (Net, write("factor"), ("Net.factor",)),
    "a global": (Net, write("STATIC"), ("STATIC",)),
    "an input": (Net, write("x"), ("input 0",)),
    "another input": (Net, write("h"), ("input 1",)),
    "one of equal layers": (Layers, write("layers.3.weight"), ("layers.3.weight",)),
    "kept state": (Keeping, None, ("Keeping.h",)),
}
HARMLESS = {
    "a bias": write("cell.bias_ih"),
    "a bias behind the loop": write("head.bias"),
    "a shift": write("shift"),
    "an offset": write("offset"),
}


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("name", RAISING)
def test_a_tensor_needed_for_the_gradient_that_changes_is_named(name: str, schedule: str) -> None:
    kind, change, names = RAISING[name]
    fast, original = warm(kind, schedule)
    for net in (original, fast):
        kept = getattr(net, "h", None)
        found = differentiate(net, change or (lambda *_: kept.mul_(0.5)), wants_grad=True)  # noqa: B023
        assert isinstance(found, RuntimeError), name
    assert isinstance(found, GradientError)
    message = str(found)
    assert (
        "has been modified by an inplace operation, by an optimizer step or in-place write between forward" in message
    )
    for one in names:
        form = r"\(float64\[[\d, ]+\], version \d+ in the forward pass, \d+ now\)"
        assert re.search(rf"[:,] {re.escape(one)} {form}", message), message
    assert str(fast.schedule) != "original"


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("wants_grad", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_tensor_that_no_gradient_needs_may_change(name: str, wants_grad: bool, schedule: str) -> None:
    fast, original = warm(Net, schedule, wants_grad)
    ours, theirs = (differentiate(net, HARMLESS[name], wants_grad) for net in (fast, original))
    assert isinstance(ours, list), ours
    assert isinstance(theirs, list), theirs
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert str(fast.schedule) != "original"


@pytest.mark.parametrize(("tensor", "name"), [(FACTOR, "FACTOR"), (SHARES[0], "SHARES")])
def test_a_tensor_that_a_function_finds_is_named_by_its_variable(tensor: Tensor, name: str) -> None:
    fast = fxsolve.compile(function, backend="eager", schedule="gs")
    for _ in range(2):
        loss = fast(*inputs(True)).sum()
    assert str(fast.schedule) != "original"
    tensor.mul_(1.0)
    with pytest.raises(GradientError, match=rf"backward: {name} \(float64"):
        loss.backward()


def test_a_second_backward_pass_after_a_step_is_told_that_its_graph_is_gone() -> None:
    fast, _ = warm(Net, "gs")
    loss = fast(*inputs(True)).sum()
    loss.backward()
    step(fast)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_retained_graph_is_refused_after_a_step() -> None:
    fast, _ = warm(Net, "gs")
    loss = fast(*inputs(True)).sum()
    loss.backward(retain_graph=True)
    step(fast)
    with pytest.raises(GradientError, match=r"cell\.weight_hh"):
        loss.backward()


def test_second_derivatives_after_a_change_of_what_they_need_not_are_refused() -> None:
    """They come from another run of the program, which would not be the same."""
    fast, _ = warm(Net, "gs")
    x, h = inputs(True)
    loss = fast(x, h).sum()
    write("cell.bias_ih")(fast, x, h)
    with pytest.raises(GradientError, match=r"reads has been modified by an inplace operation.*cell\.bias_ih"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_steps_in_hooks_behind_the_gradients_are_as_in_the_program() -> None:
    """A step as soon as a gradient is there comes after everything that reads its parameter."""
    ours, theirs = warm(Net, "gs")

    def descend(parameter: Tensor) -> None:
        with torch.no_grad():
            parameter.sub_(0.1 * parameter.grad)

    for parameter in (*ours.parameters(), *theirs.parameters()):
        parameter.register_post_accumulate_grad_hook(descend)
    for seed in range(3):
        for net in (ours, theirs):
            torch.manual_seed(seed)
            x, h = inputs(True)
            net(x, net(x, h)).sum().backward()
            net.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert str(ours.schedule) != "original"
