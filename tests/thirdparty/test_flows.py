"""Normalizing flows whose inverse is a loop over the dimensions, written by other people."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.thirdparty.checking import Case, check_rolled, library, two_inputs

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]


def _sampled(flow: Callable, dims: int) -> Case:
    return Case(lambda z: flow().transform.inv(z), *two_inputs((4, dims)))


def test_zuko_maf() -> None:
    flow = library("zuko").flows.MAF(12, 0, transforms=2, hidden_features=(32, 32))
    check_rolled("zuko_maf", _sampled(flow, 12), [12, 12])


def test_zuko_nsf() -> None:
    flow = library("zuko").flows.NSF(6, 0, transforms=2, hidden_features=(32, 32))
    check_rolled("zuko_nsf", _sampled(flow, 6), [6, 6])


def test_zuko_naf_solves_for_every_dimension_by_bisection() -> None:
    flow = library("zuko").flows.NAF(3, 0, transforms=1, hidden_features=(16,))
    check_rolled("zuko_naf", _sampled(flow, 3), [3, 25])


def test_nflows_maf() -> None:
    flow = library("nflows.transforms.autoregressive").MaskedAffineAutoregressiveTransform(16, 32).eval()
    check_rolled("nflows_maf", Case(flow.inverse, *two_inputs((4, 16))), [16])


def _within_bounds(*shape: int) -> Tensor:
    return 2 * torch.rand(*shape) - 1


def test_nflows_rational_quadratic_splines_read_which_entries_are_inside() -> None:
    splines = library("nflows.transforms.autoregressive").MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    flow = splines(8, 32, tails="linear", tail_bound=3.0).eval()
    check_rolled("nflows_rqs", Case(flow.inverse, *two_inputs((4, 8), draw=_within_bounds)), [8, 8, 8], guards=72)


def test_normflows_maf() -> None:
    flow = library("normflows").flows.MaskedAffineAutoregressive(12, 32).eval()
    check_rolled("normflows_maf", Case(flow.inverse, *two_inputs((4, 12))), [12])
