"""What is called affine is: combinations of inputs give combinations of results, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from fxsolve.ops.domains.affine import Affine, Degree
from fxsolve.ops.interpret import Interpreter
from tests.ops.matrices import OPS, Op, T, build, names

AFFINE: dict[str, Op] = {
    "vectors": lambda x, y, c: (x @ c[0]) + torch.addmv(x[0], x, c[0]) + torch.dot(x[0], c[0]),
    "columns by vectors": lambda x, y, c: torch.addmv(x[0], c, x[1]) + torch.mv(c, x[2]),
    "weights of norms": lambda x, y, c: F.layer_norm(c, (T,), x[0], x[1]) + F.group_norm(c, 1, x[0], x[1]),
    "weights of a linear layer": lambda x, y, c: F.linear(c, x, x[0]),
    "weights of a convolution": lambda x, y, c: F.conv1d(c[:, None], x[None, :1, :3], x[0, :1], padding=1)[:, 0],
    "rows that are looked up": lambda x, y, c: F.embedding((c > 0).long(), x).sum(2),
    "values of attention": lambda x, y, c: F.scaled_dot_product_attention(c[None, None], c[None, None], x[None, None]),
    "spectrum": lambda x, y, c: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(c), n=T),
    "average of windows": lambda x, y, c: F.avg_pool2d(x[None], 3, 1, 1)
    + F.interpolate(x[None], size=T, mode="linear"),
    "added at places": lambda x, y, c: c.index_add(0, torch.tensor([1, 1]), x[:2]).index_put([c > 0], x[0, 0]),
    "cotangents": lambda x, y, c: torch.ops.aten.native_layer_norm_backward(
        x, c, [T], c.mean(1, True), c.std(1, keepdim=True), c[0], c[1], [True, True, True]
    )[0] + torch.ops.aten._softmax_backward_data(x, c, 1, x.dtype) * torch.ops.aten.tanh_backward(c, c),
    "weights between": lambda x, y, c: torch.lerp(c, c.sin(), x) + torch.lerp(x, c, 0.25),
    "parts": lambda x, y, c: torch.cat(x.chunk(2)[::-1]).triu().flip(0).movedim(0, 1).expand(2, T, T).sum(0),
    "other layouts": lambda x, y, c: x.as_strided((T, T), (1, T)) + x.to(torch.float32).double(),
    "filled": lambda x, y, c: c.masked_fill(c > 0, x[0, 0]) + torch.full_like(x, 2.0) + x.new_zeros(T),
}  # fmt: skip


def degree(graph: fx.GraphModule) -> Degree:
    return Interpreter(graph, Affine()).run(Degree.AFFINE)


def assert_affine_if_called_so(chosen: list[str], seed: int, tolerance: float = 1e-6) -> Degree:
    program = build(chosen, seed, {**OPS, **AFFINE})
    found = degree(make_fx(program)(torch.randn(T, T, dtype=torch.float64)))
    x, y = torch.randn(2, T, T, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    at_x, at_y, mixed = program(x), program(y), program(1.7 * x - 0.7 * y)
    if found == Degree.FREE:
        assert torch.equal(at_x.nan_to_num(), at_y.nan_to_num())
    if found == Degree.AFFINE:
        torch.testing.assert_close(mixed, 1.7 * at_x - 0.7 * at_y, rtol=tolerance, atol=tolerance, equal_nan=True)
    return found


@pytest.mark.parametrize("name", [*OPS, *AFFINE])
def test_no_op_is_called_affine_that_is_not(name: str) -> None:
    assert_affine_if_called_so(["tanh", name], 1)
    found = assert_affine_if_called_so([name], 0)
    assert name not in AFFINE or found == Degree.AFFINE


@settings(max_examples=60, deadline=None)
@given(names, st.integers(0, 10**6))
def test_no_chain_of_ops_is_called_affine_that_is_not(chosen: list[str], seed: int) -> None:
    assert_affine_if_called_so(chosen, seed)


def test_a_result_that_is_a_step_is_not_affine() -> None:
    def program(x: Tensor) -> tuple[Tensor, ...]:
        return x.to(torch.int32), x > 0, x.round(), x.max(0)[1]

    assert set(degree(make_fx(program)(torch.randn(T, T)))) == {Degree.OTHER}  # pyright: ignore
