"""Images sampled pixel by pixel: entries with several indices, and causality through masked convolutions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.ops.call import bind
from fxsolve.ops.domains.entries import entries
from fxsolve.ops.domains.windows import convolution

SIDE = 6


class MaskedConv(nn.Conv2d):
    """A convolution that sees the pixels before its own in raster order; its own as well if `own`."""

    mask: Tensor

    def __init__(self, channels: int, filters: int, own: bool) -> None:
        super().__init__(channels, filters, 3, padding=1)
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1 + own :] = 0
        mask[:, :, 2:] = 0
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight * self.mask, self.bias, padding=self.padding)


def sampler(first_sees_its_own: bool):
    torch.manual_seed(0)
    net = nn.Sequential(MaskedConv(1, 4, first_sees_its_own), nn.ReLU(), MaskedConv(4, 4, True), nn.Conv2d(4, 1, 1))

    def sample() -> Tensor:
        x = torch.zeros(2, 1, SIDE, SIDE)
        for i in range(SIDE):
            for j in range(SIDE):
                x[:, :, i, j] = torch.bernoulli(torch.sigmoid(net(x)[:, :, i, j]))
        return x

    return sample


@pytest.mark.parametrize("first_sees_its_own", [False, True])
def test_a_pixel_loop_is_swept_only_where_masks_prove_raster_order(first_sees_its_own: bool) -> None:
    sample = sampler(first_sees_its_own)
    with torch.no_grad():
        fast = fxsolve.compile(sample, (), backend="eager", schedule="jacobi")
        for seed in (1, 2):
            torch.manual_seed(seed)
            expected = sample()
            torch.manual_seed(seed)
            assert torch.equal(fast(), expected)
    (loop,) = fast.report().loops
    assert loop.length == SIDE * SIDE
    assert ("jacobi" in str(fast.schedule)) != first_sees_its_own
    assert any("causality not shown" in note for note in fast.report().notes) == first_sees_its_own


def test_columns_in_the_other_order_are_one_loop_as_well() -> None:
    weight = torch.randn(SIDE, SIDE)

    def program(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for j in range(SIDE):
            for i in range(SIDE):
                y[:, i, j] = torch.tanh((weight @ y)[:, i, j] + x[:, i, j])
        return y

    with torch.no_grad():
        fast = fxsolve.compile(program, (torch.randn(2, SIDE, SIDE),), backend="eager", schedule="gs")
        x = torch.randn(2, SIDE, SIDE)
        assert torch.equal(fast(x), program(x))
    assert SIDE * SIDE in {loop.length for loop in fast.report().loops}


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 2, 2), ((1, 2), (0, 1), 1)])
def test_labels_of_a_convolution_are_those_of_the_pixels_that_it_reads(stride, padding, dilation) -> None:
    weight = torch.randn(3, 2, 3, 3) * (torch.rand(3, 2, 3, 3) < 0.4)
    x = torch.randn(1, 2, 7, 8)
    labels = torch.randperm(x.numel()).view(x.shape)
    pair = [value if isinstance(value, tuple) else (value, value) for value in (stride, padding, dilation)]
    result = F.conv2d(x, weight, None, stride, padding, dilation)
    args = (entries(labels), weight, None, *pair, False, [0, 0], 1)
    found = convolution(bind(torch.ops.aten.convolution.default, args, {}, result)).latest
    assert found.shape == result.shape
    expected = torch.full(result.shape, -1)
    for place in range(x.numel()):
        pixel = torch.zeros(x.numel())
        pixel[place] = 1
        reached = F.conv2d(pixel.view(x.shape), weight.abs(), None, stride, padding, dilation) > 0
        expected = torch.where(reached, expected.clamp(min=int(labels.view(-1)[place])), expected)
    assert torch.equal(found, expected)


def test_a_buffer_that_is_also_read_two_steps_back_keeps_its_values() -> None:
    def program(x: Tensor) -> Tensor:
        older = y = torch.zeros(SIDE, SIDE)
        for i in range(SIDE):
            for j in range(SIDE):
                new = y.clone()
                new[i, j] = torch.tanh(x[i, j] + y.sum() - older.sum())
                older, y = y, new
        return y

    with torch.no_grad():
        fast = fxsolve.compile(program, (torch.randn(SIDE, SIDE),), backend="eager", schedule="gs")
        x = torch.randn(SIDE, SIDE)
        assert torch.equal(fast(x), program(x))
    assert str(fast.schedule) != "original"
