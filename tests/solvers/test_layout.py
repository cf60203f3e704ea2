import torch
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.solvers.layout import Layout, pack, unpack


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Up to three outputs that share their independent dimensions, at different places and among others."""
    batch = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    shapes, orders = [], []
    for _ in range(draw(st.integers(1, 3))):
        sizes = (*batch, *draw(st.lists(st.integers(1, 3), max_size=2)))
        places = draw(st.permutations(range(len(sizes))))
        shapes.append(tuple(sizes[places.index(dim)] for dim in range(len(sizes))))
        orders.append(tuple(places))
    return Layout(tuple(range(len(shapes))), tuple(shapes), batch, tuple(orders))


@given(layouts(), st.integers(1, 3))
def test_unpacking_is_the_inverse_of_packing(layout: Layout, length: int) -> None:
    values = [torch.randn(length, *shape) for shape in layout.shapes]
    state = pack(layout, values)
    assert tuple(state.shape) == (length, *layout.batch, sum(layout.sizes))
    for value, back in zip(values, unpack(layout, state), strict=True):
        assert torch.equal(value, back)


def test_independent_dimensions_come_first() -> None:
    layout = Layout((0, 1), ((2, 3), (3,)), (3,), ((1, 0), (0,)))
    first, second = torch.arange(6.0).reshape(1, 2, 3), torch.tensor([[10.0, 11.0, 12.0]])
    assert pack(layout, (first, second)).tolist() == [[[0, 3, 10], [1, 4, 11], [2, 5, 12]]]
