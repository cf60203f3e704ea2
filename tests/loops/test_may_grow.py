"""Graphs without evenly growing shapes are not searched for growing loops."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.growing.sizes import MANY_SHAPES, MIN_STEPS, may_grow

aten = torch.ops.aten


def chain(shapes: list[tuple[int, ...]]) -> fx.Graph:
    """Calls of one op that give tensors of these shapes."""
    graph = fx.Graph()
    node = graph.placeholder("x")
    for shape in shapes:
        node = graph.call_function(aten.relu.default, (node,))
        node.meta["spec"] = TensorSpec(shape, (0,) * len(shape), torch.float32, torch.device("cpu"))
    graph.output((node,))
    return graph


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_growing_loop_is_never_missed(
    first: tuple[int, int], slope: tuple[int, int], others: list[tuple[int, int]], random: object
) -> None:
    grown = [(first[0] + t * slope[0], first[1] + t * slope[1]) for t in range(MIN_STEPS)]
    shapes = [*grown, *others]
    random.shuffle(shapes)  # pyright: ignore[reportAttributeAccessIssue]
    assert may_grow(chain(shapes))


def test_shapes_that_grow_by_no_rule_are_looked_at_for_a_note() -> None:
    assert may_grow(chain([(2**k, 5) for k in range(10)]))
    assert may_grow(chain([(2**k, 5) for k in reversed(range(10))]))


def test_shapes_that_do_not_grow() -> None:
    assert not may_grow(chain([(3, 4)] * 100))
    assert not may_grow(chain([(1,), (2, 1), (3, 1, 1), (4, 1, 1, 1)]))
    assert not may_grow(chain([(1,), (16,), (2,), (9,)] * 10))


def test_very_many_shapes_may_grow() -> None:
    assert may_grow(chain([(2**k, 5) for k in range(MANY_SHAPES + 1)]))
