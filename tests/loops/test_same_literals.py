"""Constants that are made of numbers in every run are the same at every length, or nothing is derived."""

import pytest
import torch

from fxsolve.errors import PartitionError
from fxsolve.loops.generalize.literals import check_literals

ONE, TWO, WIDE = torch.tensor([-1]), torch.tensor([2]), torch.tensor([-1, -1])


@pytest.mark.parametrize(
    "runs",
    [
        ([ONE, TWO], [ONE, TWO], [ONE, TWO]),
        ([ONE] * 3, [ONE] * 5, [ONE]),
        ([ONE, TWO] * 2, [ONE, TWO] * 3, [ONE, TWO] * 7),
        ([torch.tensor(torch.nan)], [torch.tensor(torch.nan)], [torch.tensor(torch.nan)]),
        ([], [], []),
    ],
)
def test_the_same_constants_again_and_again_are_the_same(runs: tuple[list[torch.Tensor], ...]) -> None:
    check_literals(*runs)


@pytest.mark.parametrize(
    "runs",
    [
        ([ONE, TWO], [ONE, TWO], [TWO, ONE]),
        ([ONE], [ONE], [TWO]),
        ([ONE], [TWO], [ONE]),
        ([ONE], [ONE], [WIDE]),
        ([ONE], [ONE], [ONE.int()]),
        ([ONE], [ONE], [ONE.double()]),
        ([], [], [ONE]),
        ([ONE, ONE, TWO], [ONE, ONE, ONE, TWO], [ONE, ONE, TWO]),
    ],
)
def test_other_constants_are_told(runs: tuple[list[torch.Tensor], ...]) -> None:
    with pytest.raises(PartitionError, match="are others at this length"):
        check_literals(*runs)
