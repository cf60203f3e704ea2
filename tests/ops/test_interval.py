"""What is said to lie in an interval does, for small and for large inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from fxsolve.ops.domains.interval import ANYTHING, Interval, Intervals
from fxsolve.ops.interpret import Interpreter
from tests.ops.bodies import reads_for, recorded
from tests.ops.matrices import OPS, Op, T, build

KNOWN: dict[str, tuple[float, float]] = {"sin": (-1, 1), "gate": (0, 1), "clamp": (-1, 1), "between": (-0.5, 2)}
BOUNDED: dict[str, Op] = {
    "sin": lambda x, y, c: x.sin(),
    "gate": lambda x, y, c: 1 - torch.sigmoid(x),
    "between": lambda x, y, c: x.clamp(-0.5, 2),
    "at least": lambda x, y, c: x.clamp(min=0.1).clamp(max=0.05),
    "as one and minus one": lambda x, y, c: F.relu6(x) / 6 - torch.sign(y),
    "softplus": lambda x, y, c: F.softplus(x, beta=2) - F.softplus(y, beta=-1),
    "softplus, turned": lambda x, y, c: F.softplus(x, beta=-2),
    "root": lambda x, y, c: x.abs().sqrt() + torch.exp(y),
    "in a narrow type": lambda x, y, c: torch.sigmoid(x).bfloat16().double() + F.hardtanh(y, -0.1, 0.1).half().double(),
    "written": lambda x, y, c: torch.slice_scatter(x.sigmoid(), y.tanh()[:2], 0, 1, 3).index_copy(
        0, torch.tensor([4]), y[:1].relu()
    ),
    "padded": lambda x, y, c: F.pad(x.sigmoid()[1:], (0, 0, 1, 0), value=-0.25) - y.tanh().triu() * x.sin().relu(),
    "places": lambda x, y, c: F.embedding((c > 0).long(), x.tanh())[..., 0]
    .gather(0, (c > 0).long())[:, [3, 1, 2, 0, 1]],
    "sums": lambda x, y, c: x.tanh() + y.tanh() - torch.add(x.sin(), y.cos(), alpha=3),
    "complex": lambda x, y, c: torch.complex(x, y).tanh().real + torch.complex(x, y).exp().abs(),
}  # fmt: skip


def assert_inside(found: Interval, value: Tensor) -> None:
    low, high = (torch.tensor(end, dtype=value.dtype) for end in (found.low, found.high))
    assert bool((value.isnan() | ((value >= low) & (value <= high))).all()), (found, value.min(), value.max())


def assert_bounded(chosen: list[str], seed: int) -> Interval:
    program = build(chosen, seed, {**OPS, **BOUNDED})
    found = Interpreter(make_fx(program)(torch.randn(T, T, dtype=torch.float64)), Intervals()).run(ANYTHING)
    x = torch.randn(T, T, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for scale in (1e-300, 1e-3, 1.0, 1e4, 1e300, torch.inf):
        assert_inside(found, program(x * scale))
    return found


@pytest.mark.parametrize("name", [*OPS, *BOUNDED])
def test_no_op_leaves_its_interval(name: str) -> None:
    for before in ("gate", "root"):
        assert_bounded([before, name], 1)
    found = assert_bounded([name], 0)
    assert (found.low, found.high) == KNOWN.get(name, (found.low, found.high))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*OPS, *BOUNDED]), min_size=1, max_size=5), st.integers(0, 10**6))
def test_no_chain_of_ops_leaves_its_interval(chosen: list[str], seed: int) -> None:
    assert_bounded(chosen, seed)


def test_no_value_of_the_table_leaves_its_interval() -> None:
    bounded = 0
    for _, repeat in recorded():
        outputs = Interpreter(repeat.body, Intervals()).run(*(ANYTHING for _ in repeat.reads))
        for seed in range(3):
            try:
                values = repeat.body(*reads_for(repeat, seed))
            except (RuntimeError, IndexError):  # a step that any masks and places will not do for
                continue
            for found, value in zip(outputs, values, strict=True):
                if found != ANYTHING:
                    assert_inside(found, value)
                    bounded += 1
    assert bounded > 100
