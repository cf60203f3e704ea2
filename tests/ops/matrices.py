"""Ops on square matrices, and chains of them, for domains to be tried on."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten

T = 5  # steps, and the sides of every matrix

Op = Callable[[Tensor, Tensor, Tensor], Tensor]

# From a matrix that depends on steps, an earlier one, and one of constants, many of them zero, to the next matrix.
OPS: dict[str, Op] = {
    "add": lambda x, y, c: x + y,
    "add a constant": lambda x, y, c: x + c,
    "multiply": lambda x, y, c: x * y,
    "mask": lambda x, y, c: x * c,
    "mask on the left": lambda x, y, c: c[0] * x,
    "tanh": lambda x, y, c: torch.tanh(x),
    "matrix product": lambda x, y, c: x @ c,
    "matrix product from the left": lambda x, y, c: c @ x,
    "product of two": lambda x, y, c: x @ y,
    "linear": lambda x, y, c: F.linear(x, c, c[0]),
    "batched product": lambda x, y, c: torch.bmm(x[None], c[None])[0],
    "batched product of two": lambda x, y, c: torch.bmm(x[None], y[None])[0],
    "batched product from the left": lambda x, y, c: torch.bmm(c[None], x[None])[0],
    "lower triangle": lambda x, y, c: torch.tril(x),
    "where a constant": lambda x, y, c: torch.where(c > 0, x, y),
    "where a value": lambda x, y, c: torch.where(y > 0, x, c),
    "fill": lambda x, y, c: x.masked_fill(c > 0, 0.5),
    "fill where a value": lambda x, y, c: x.masked_fill(y > 0, 0.5),
    "transpose": lambda x, y, c: x.t(),
    "select": lambda x, y, c: x.select(0, 2).expand(T, T),
    "slice": lambda x, y, c: torch.cat([x[:, 2:], x[:, :2]], 1),
    "cat": lambda x, y, c: torch.cat([x[:2], y[2:]]),
    "cat with constants": lambda x, y, c: torch.cat([c[:2], y[2:]]),
    "stack": lambda x, y, c: torch.stack([x[0], y[1], c[2], x[3], y[4]], 1),
    "flip": lambda x, y, c: x.flip([1]),
    "roll": lambda x, y, c: torch.roll(x, 1, 0),
    "reshape": lambda x, y, c: (x.reshape(-1)[None] + 0).view(T, T),
    "chunk": lambda x, y, c: torch.cat(x.split([3, 2], 0)[::-1]),
    "chunk of cells": lambda x, y, c: torch.cat(torch.unsafe_chunk(x, 2, 1)[::-1], 1),
    "unbind": lambda x, y, c: torch.stack(x.unbind(1)[::-1]),
    "index": lambda x, y, c: x.index_select(0, torch.tensor([4, 0, 0, 2, 1])),
    "put columns": lambda x, y, c: x.index_copy(1, torch.tensor([3, 1]), y[:, :2]),
    "put rows of constants": lambda x, y, c: x.index_copy(0, torch.tensor([3]), c[:1]).index_fill(
        0, torch.tensor([1]), 0
    ),
    "put rows in constants": lambda x, y, c: c.index_copy(0, torch.tensor([2, 0]), x[:2]),
    "gather": lambda x, y, c: x.gather(1, torch.arange(T * T).view(T, T) % T),
    "gather at a value": lambda x, y, c: x.gather(1, (y > 0).long()),
    "gather of constants": lambda x, y, c: c.gather(1, (y > 0).long()),
    "look up": lambda x, y, c: x[[3, 1, 2, 0, 3]],
    "sum": lambda x, y, c: x.sum(0).expand(T, T),
    "sum of all": lambda x, y, c: x.sum() + c,
    "mean": lambda x, y, c: x.mean(-1, keepdim=True).expand(T, T),
    "largest": lambda x, y, c: x.amax(0) + c,
    "place of the largest": lambda x, y, c: x.argmax(1).double() + c,
    "largest and its place": lambda x, y, c: x.max(1)[0] + c,
    "softmax": lambda x, y, c: torch.softmax(x, 1),
    "masked softmax": lambda x, y, c: torch.softmax(x.masked_fill(c > 0, -1e9), 0),
    "log softmax": lambda x, y, c: torch.log_softmax(x, 0),
    "running sum": lambda x, y, c: x.cumsum(0),
    "running product": lambda x, y, c: x.cumprod(1),
    "spread": lambda x, y, c: x / x.var(0, correction=1, keepdim=True) + x.std(1),
    "product along": lambda x, y, c: x.prod(1) + x.prod(0, keepdim=True) * c,
    "log of sums": lambda x, y, c: x.logsumexp(0) + x.logsumexp(1, keepdim=True),
    "any and all": lambda x, y, c: (x > 0).any(0) + (y > -1).all(1, keepdim=True).double(),
    "smallest and its place": lambda x, y, c: x.min(0)[0] + x.min(1)[1] + x.argmin(0) + c,
    "upper triangle": lambda x, y, c: torch.triu(x, 1),
    "repeat": lambda x, y, c: x[:2].repeat(3, 1)[:T],
    "pad": lambda x, y, c: F.pad(x[1:, 2:], (1, 1, 0, 1), value=0.5),
    "index pairs": lambda x, y, c: x[:, [3, 1, 2, 0, 3]] + x[[0, 1, 1, 4, 4], [4, 3, 2, 1, 0]],
    "index at a value": lambda x, y, c: x[:, y.argmax(0)] + x.index_select(0, y.argmin(1)),
    "index pairs of values": lambda x, y, c: (
        x[torch.arange(T)[:, None], (y > 0).long()] + x[None][:, y.argmax(1), :][0]
    ),
    "put at pairs of values": lambda x, y, c: x.index_put([torch.arange(T)[:, None], y.sort(1)[1]], c).index_put(
        [x.argmin(1), torch.arange(T)], y[0], accumulate=True
    ),
    "mask of two": lambda x, y, c: x.masked_fill(~((y > 0) & (c > 0)), 0.5) + y.masked_fill((x > 0) | (c > 0), -1e9),
    "choice by two": lambda x, y, c: torch.where((y > 0) | (c != 0), x, y) + torch.where((c == 0) & (x > 0), c, y),
    "index of constants": lambda x, y, c: c[y.argmax(0)],
    "sort": lambda x, y, c: x.sort(1)[0],
    "layer norm": lambda x, y, c: F.layer_norm(x, (T,)),
    "layer norm with weights": lambda x, y, c: F.layer_norm(x, (T,), y[0], c[0]),
    "group norm": lambda x, y, c: F.group_norm(x, 1) + F.group_norm(x[:, :4], 2, c[0, :4]).sum(1),
    "convolution of samples": lambda x, y, c: F.conv1d(x[:, None], c[None, :1, :3], padding=1)[:, 0],
    "convolution with weights": lambda x, y, c: F.conv1d(x[:, None], y[None, :1, :3], padding=1)[:, 0],
    "derivative of softmax": lambda x, y, c: torch._softmax_backward_data(x, y, 1, x.dtype),
    "hard tanh": lambda x, y, c: torch.ops.aten.hardtanh_backward(x, y, -0.5, 0.5) + F.hardtanh(x),
    "gradients of activations": lambda x, y, c: (
        aten.elu_backward(x, 1.5, 2.0, 1.0, False, y)
        + aten.leaky_relu_backward(x, y, 0.1, False)
        + aten.softplus_backward(x, y, 1.0, 20.0)
        + aten.mish_backward(x, y)
        + aten.hardswish_backward(x, y)
        + aten.hardsigmoid_backward(x, y)
    ),
    "clamp": lambda x, y, c: x.clamp(-1, 1),
    "mantissa and exponent": lambda x, y, c: torch.frexp(x)[0] + torch.frexp(y)[1],
    "power": lambda x, y, c: x**2,
    "compare": lambda x, y, c: (x > y).double(),
    "cast": lambda x, y, c: x.to(torch.float32).to(torch.float64),
    "norm": lambda x, y, c: x / x.norm(dim=1, keepdim=True),
    "convolution": lambda x, y, c: F.conv2d(x[None, None], c[None, None, :3, :3], padding=1)[0, 0],
    "write a row": lambda x, y, c: torch.select_scatter(x, y[0], 0, 3),
    "write a slice": lambda x, y, c: torch.slice_scatter(x, y[:2], 0, 1, 3),
    "put": lambda x, y, c: x.index_copy(0, torch.tensor([1, 3]), y[:2]),
    "running largest": lambda x, y, c: x.cummax(0)[0] + y.cummin(1)[0] + c,
    "running log of sums": lambda x, y, c: x.logcumsumexp(1),
    "largest few": lambda x, y, c: x.topk(2, 1)[0].sum(1, keepdim=True) + c,
    "median": lambda x, y, c: x.median(0, keepdim=True)[0] + c,
    "softmax under a mask": lambda x, y, c: torch.softmax(x.masked_fill(c > 0, -torch.inf), 1).nan_to_num(0.5),
    "softmax under an added mask": lambda x, y, c: torch.softmax(x + torch.where(c > 0, -torch.inf, 0.0), 1).nan_to_num(
        0.5
    ),
    "attention by hand": lambda x, y, c: torch.softmax((x @ y).masked_fill(c > 0, -1e30), 1) @ x,
    "attention": lambda x, y, c: F.scaled_dot_product_attention(x[None, None], y[None, None], x[None, None])[0, 0],
    "causal attention": lambda x, y, c: F.scaled_dot_product_attention(
        x[None, None], y[None, None], x[None, None], is_causal=True
    )[0, 0],
    "attention under a mask": lambda x, y, c: F.scaled_dot_product_attention(
        x[None, None], y[None, None], x[None, None], attn_mask=(c <= 0) | torch.eye(T, dtype=torch.bool)
    )[0, 0],
    "attention under a mask of values": lambda x, y, c: F.scaled_dot_product_attention(
        x[None, None], y[None, None], x[None, None], attn_mask=((c <= 0) & (y < 1)) | torch.eye(T, dtype=torch.bool)
    )[0, 0],
    "masked twice": lambda x, y, c: (x * c) @ (y * c.t()),
    "mask in a product of two": lambda x, y, c: (x * c).relu() @ y,
    "mask through functions": lambda x, y, c: torch.tanh(x * c).exp() - 1 + y.where(c > 0, 0.0).sigmoid() * 2 - 1,
    "mask in a softplus": lambda x, y, c: F.softplus((x * c).sin()) @ c,
    "one-hot": lambda x, y, c: torch.zeros(T, T, dtype=x.dtype).scatter(1, x.argmax(1, keepdim=True), 1.0),
    "scatter": lambda x, y, c: x.scatter(0, (c[:3] > 0).long(), y[:3]) + x.scatter_add(1, (y > 0).long(), y),
    "embedding": lambda x, y, c: F.embedding(x.argmax(1), c) + F.embedding(torch.arange(T), y),
    "put at a mask": lambda x, y, c: torch.where(c > 0, x, y).index_put([c > 0], torch.zeros((), dtype=x.dtype)),
    "put at places": lambda x, y, c: x.index_put([torch.tensor([1, 1, 3])], y[:3]),
    "average pool": lambda x, y, c: F.avg_pool1d(F.pad(x, (2, 0))[None], 3, 1)[0],
    "largest of a window": lambda x, y, c: F.max_pool2d(x[None], 3, 1, 1)[0],
    "largest of every second window": lambda x, y, c: F.interpolate(
        F.max_pool2d(x[None, None], 2, 2, ceil_mode=True), size=(T, T)
    )[0, 0],
    "windows": lambda x, y, c: F.pad(x, (3, 0)).unfold(1, 4, 1).mean(-1),
    "strided convolution": lambda x, y, c: F.conv2d(x[None, None], c[None, None, :2, :2], stride=2)[0, 0].mean() + c,
    "dilated convolution": lambda x, y, c: F.conv1d(F.pad(x, (4, 0))[None], c[..., None].expand(T, T, 3), dilation=2)[
        0
    ],
    "grouped convolution": lambda x, y, c: F.conv1d(x[None], c[:, None, :3], padding=1, groups=T)[0],
    "transposed convolution": lambda x, y, c: F.conv_transpose2d(x[None, None], c[None, None, :3, :3], padding=1)[0, 0],
    "transposed strides": lambda x, y, c: F.conv_transpose1d(
        x[None, :, ::2], torch.stack([c, c.t(), c], 2), stride=2, padding=1, dilation=1
    )[0],
    "grouped transposed": lambda x, y, c: F.conv_transpose1d(x[None], c[:, None, :3], padding=1, groups=T)[0],
    "batch norm": lambda x, y, c: F.batch_norm(x, c[0], c[1].abs() + 1) + F.batch_norm(x, None, None, training=True),
    "batch norm with statistics": lambda x, y, c: sum(
        torch.ops.aten._native_batch_norm_legit_functional(x, None, None, c[0], c[1].abs() + 1, training, 0.1, 1e-5)[0]
        for training in (True, False)
    ),
    "all true": lambda x, y, c: torch._is_all_true(x > -1) + torch._is_any_true(y > 1) + c,
    "softmax under a subtracted mask": lambda x, y, c: torch.softmax(x - 1e9 * (c > 0), 1) + (c - y - 1e12).exp(),
    "matrix by vectors": lambda x, y, c: torch.mv(c, x[0]) + torch.addmv(y[1], x, c[0]) + torch.dot(x[2], c[1]) * c,
    "prelu": lambda x, y, c: F.prelu(x[None], c[0, :1])[0],
    "gated": lambda x, y, c: torch.cat([F.glu(x[:, :4], 1), y[:, :3]], 1),
    "bilinear": lambda x, y, c: F.interpolate(x[None, None], scale_factor=2, mode="bilinear")[0, 0, ::2, ::2],
    "reflected": lambda x, y, c: F.pad(x[None], (1, 1), mode="reflect")[0, :, :T],
    "like": lambda x, y, c: torch.cat([torch.zeros_like(x[:2]), y[2:] * torch.full_like(x[2:], 0.5)]) + x.new_ones(T),
    "another type": lambda x, y, c: (
        torch.view_as_real(torch.view_as_complex(torch.stack([x, y], 2)) * 2j).sum(2)
        + x.view(torch.int64).double().clamp(-1, 1)
    ),
    "largest of both": lambda x, y, c: torch.maximum(x * c, y * c) + torch.minimum(x, c),
}

names = st.lists(st.sampled_from(sorted(OPS)), min_size=1, max_size=5)


def build(chosen: list[str], seed: int, ops: dict[str, Op] = OPS) -> Callable[[Tensor], Tensor]:
    """A chain of ops, each on the result of the one before it, on an earlier one and on a constant."""
    generator = torch.Generator().manual_seed(seed)
    constants = torch.randn(len(chosen), T, T, generator=generator, dtype=torch.float64)
    constants *= torch.rand(constants.shape, generator=generator) < 0.4
    others = torch.randint(0, 99, (len(chosen),), generator=generator).tolist()

    def program(x: Tensor) -> Tensor:
        values = [x]
        for name, constant, other in zip(chosen, constants, others, strict=True):
            values.append(ops[name](values[-1], values[other % len(values)], constant))
        return values[-1]

    return program
