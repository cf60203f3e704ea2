"""Every form of the affine scan gives what the loop gives, causally, for any length, shape and dtype."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.errors import FxSolveError
from fxsolve.solvers.affine_scan import affine_scan, scan_dense, scan_diagonal
from fxsolve.solvers.scan_form import Form
from tests.solvers.affine_chains import FORMS, Chain, assert_close, chain, chains, every_form, loop, solve


@settings(max_examples=150, deadline=None)
@given(chains, st.sampled_from(FORMS))
def test_every_form_gives_the_loop_to_rounding(given: Chain, form: Form) -> None:
    found = solve(form, given.a, given.b)
    assert (found.shape, found.dtype) == (given.b.shape, given.b.dtype)
    assert_close(found, given)


@settings(max_examples=60, deadline=None)
@given(chains)
def test_the_chosen_form_gives_the_loop_to_rounding(given: Chain) -> None:
    assert_close(affine_scan(given.a, given.b), given)


@settings(max_examples=100, deadline=None)
@given(chains, st.sampled_from(FORMS), st.sampled_from([1.0, 1e30, math.inf, math.nan]), st.data())
def test_the_first_steps_do_not_depend_on_later_ones_bit_for_bit(
    given: Chain, form: Form, later: float, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(given.b)))
    a, b = given.a.clone(), given.b.clone()
    a[first:] *= later
    b[first:] = later
    assert torch.equal(solve(form, a, b)[:first].nan_to_num(), solve(form, given.a, given.b)[:first].nan_to_num())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000), st.sampled_from([None, 1, 2, 3]), st.data())
def test_the_chosen_form_is_causal_bit_for_bit_too(T: int, n: int | None, data: st.DataObject) -> None:
    given = chain(T, (2,), n, 0.9, torch.float32, T)
    first = data.draw(st.integers(0, T))
    a, b = given.a.clone(), given.b.clone()
    a[first:], b[first:] = math.inf, 1e38
    assert torch.equal(affine_scan(a, b)[:first], affine_scan(given.a, given.b)[:first])


@every_form
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 1, 37, 99])
def test_a_value_that_is_not_finite_spoils_its_own_entry_and_what_follows_alone(
    form: Form, bad: float, at: int
) -> None:
    given = chain(100, (3,), None, 0.9, torch.float32, at)
    clean = solve(form, given.a, given.b)
    given.b[at, 1] = bad
    found = solve(form, given.a, given.b)
    assert not found[at:, 1].isfinite().any()
    assert torch.equal(found[:at, 1], clean[:at, 1])
    assert torch.equal(found[:, [0, 2]], clean[:, [0, 2]])


@every_form
@pytest.mark.parametrize("n", [None, 3])
def test_the_first_factor_is_not_read(form: Form, n: int | None) -> None:
    given = chain(70, (2,), n, 0.9, torch.float64, 1)
    wanted = solve(form, given.a, given.b)
    given.a[0] = math.nan
    assert torch.equal(solve(form, given.a, given.b), wanted)


@every_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [None, 3])
def test_half_precision_is_computed_in_a_wider_type_and_rounded_once(
    form: Form, dtype: torch.dtype, n: int | None
) -> None:
    given = chain(100, (2,), n, 0.9, torch.float32, 2)
    a, b = given.a.to(dtype), given.b.to(dtype)
    wide = torch.float32 if n is None else torch.float64
    assert torch.equal(solve(form, a, b), solve(form, a.to(wide), b.to(wide)).to(dtype))


@pytest.mark.parametrize("n", [2, 5, 32])
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_no_setting_shortens_the_products(n: int, precision: str) -> None:
    given = chain(100, (2,), n, 0.9, torch.float32, 3)
    wanted = [solve(form, given.a, given.b) for form in FORMS]
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = [solve(form, given.a, given.b) for form in FORMS]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert all(map(torch.equal, found, wanted))


def test_the_scan_of_the_adjoints_from_the_end_is_the_adjoint_of_the_scan() -> None:
    given = chain(65, (2,), 3, 0.9, torch.complex128, 4)
    weights = torch.randn_like(given.b)
    adjoint = torch.cat((given.a[:1], given.a[1:].flip(0))).mH
    forward = (weights.conj() * affine_scan(given.a, given.b)).sum()
    backward = (affine_scan(adjoint, weights.flip(0)).flip(0).conj() * given.b).sum()
    torch.testing.assert_close(forward, backward)


@pytest.mark.parametrize("n", [None, 3])
def test_views_of_any_strides_are_read_by_value(n: int | None) -> None:
    given = chain(40, (3, 3), n, 0.9, torch.complex128, 5)
    a, b = given.a[:1].expand_as(given.a).conj(), given.b.transpose(1, 2)
    torch.testing.assert_close(affine_scan(a, b), loop(a, b))


def test_mixed_types_give_the_wider_one() -> None:
    a, b = torch.rand(50, 2), torch.randn(50, 2, dtype=torch.complex128)
    torch.testing.assert_close(affine_scan(a, b), loop(a, b))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((5, 2), (5,), "a (5, 2) and b (5,) does not fit"),
        ((5,), (5, 2), "neither diagonal nor dense"),
        ((5, 2, 2, 2), (5, 2), "neither diagonal nor dense"),
        ((5, 3, 2), (5, 2), "a (5, 3, 2) and b (5, 2) does not fit"),
        ((4, 2, 2), (5, 2), "a (4, 2, 2) and b (5, 2) does not fit"),
        ((0, 2), (0, 2), "with T >= 1"),
        ((), (), "with T >= 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(a: tuple[int, ...], b: tuple[int, ...], message: str) -> None:
    with pytest.raises(FxSolveError) as error:
        affine_scan(torch.zeros(a), torch.zeros(b))
    assert message in str(error.value)


def test_integers_and_gradients_are_refused() -> None:
    with pytest.raises(FxSolveError, match=r"torch.int64 and torch.int64 would round"):
        scan_diagonal(torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64))
    a, b = torch.ones(3, 2, 2, requires_grad=True), torch.ones(3, 2)
    with pytest.raises(FxSolveError, match=r"no derivative of its own; call it under torch.no_grad"):
        scan_dense(a, b)
    with torch.no_grad():
        assert scan_dense(a, b).tolist() == [[1, 1], [3, 3], [7, 7]]
