"""The DenseNet of the example: its sweeps end at the network's own logits, and its script runs."""

import pytest
import torch

import densenet_blocks
from densenet_blocks import close, logits_after_each_sweep, same_five, standardised, sweeps_until


def test_the_last_sweep_gives_the_logits_of_the_network() -> None:
    model, x = standardised((2, 3), 32), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        logits = list(logits_after_each_sweep(model, x))
        exact = model(x)
    assert len(logits) == 2 + 3 + 1 + 1 + 1
    assert torch.equal(logits[-1], exact)
    assert sweeps_until(logits, close(exact))[1] <= len(logits)
    assert sweeps_until(logits, same_five(exact))[0] <= sweeps_until(logits, same_five(exact))[1]


def test_what_holds_first_may_not_hold_for_good() -> None:
    values = [torch.tensor(one) for one in (0, 1, 0, 1, 1)]
    assert sweeps_until(values, lambda one: bool(one)) == (2, 4)
    assert sweeps_until(values[3:], lambda one: bool(one)) == (1, 1)


def test_features_are_standardised_as_after_training() -> None:
    model, x = standardised((2, 3), 32), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        features = model.features(x)
    assert 0.5 < features.std().item() < 2


def test_the_script_says_after_how_many_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    densenet_blocks.main(["--layers", "2", "2", "--side", "32"])
    said = capsys.readouterr().out
    assert "equations, all swept at once: 7 deep" in said
    assert "bit-identical" in said
