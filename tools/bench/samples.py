"""A batch of mixed difficulty: sweeps that leave out the samples that have settled, against sweeps of all to the end.

Every sample has a coupling of its own: where it is weak a few sweeps settle the sample, where it is strong every entry
hangs on all before it. The rival is the same schedule without smaller batches; the prediction is of the ratio to it.
"""

import re
from dataclasses import replace

import torch
from torch import Tensor, nn

import fxsolve
from measure import Case, measure, options, save

DIMENSIONS, HIDDEN, BATCH = 256, 512, 128
WEAK, STRONG = 0.5, 200.0
RIVAL = "all samples to the end"
# Strong samples of 128, and the ratio expected; where all are alike, plain sweeps should be chosen.
CASES = {8: 1.5, 64: 1.1, 128: 0.95}


class Masked(nn.Module):
    """x_i = tanh(c_b f_i(x_<i) + z_i): z (B, D) and the coupling c (B,) give x (B, D), column by column."""

    first_mask: Tensor
    last_mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        order, inputs = torch.arange(HIDDEN) % (DIMENSIONS - 1), torch.arange(DIMENSIONS)
        self.first, self.last = nn.Linear(DIMENSIONS, HIDDEN), nn.Linear(HIDDEN, DIMENSIONS)
        self.register_buffer("first_mask", (order[:, None] >= inputs).float())
        self.register_buffer("last_mask", (inputs[:, None] > order).float())

    def forward(self, z: Tensor, coupling: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for i in range(DIMENSIONS):
            hidden = torch.relu(nn.functional.linear(x, self.first.weight * self.first_mask, self.first.bias))
            shift = nn.functional.linear(hidden, self.last.weight * self.last_mask, self.last.bias)
            x[:, i] = torch.tanh(coupling * shift[:, i] + z[:, i])
        return x


def mixed(strong: int) -> tuple[Tensor, Tensor]:
    """Inputs for a batch with so many strongly coupled samples, spread over it."""
    coupling = torch.full((BATCH,), WEAK)
    coupling[:: BATCH // strong] = STRONG
    return torch.randn(BATCH, DIMENSIONS), coupling


def case(model: nn.Module, strong: int, prediction: float, repeats: int) -> Case:
    """One batch: as written, by the automatic choice, and by that choice without smaller batches."""
    inputs = mixed(strong)
    with torch.no_grad():
        chosen = fxsolve.compile(model, mode="max-autotune")
        chosen(*inputs)
        rival = fxsolve.compile(model, schedule=re.sub(r", samples=[\d:]+", "", str(chosen.schedule)))
        rival(*inputs)
        name = f"{strong} of {BATCH} samples strongly coupled"
        found = measure(name, model, inputs, prediction=prediction, repeats=repeats, rivals={RIVAL: rival})
    return replace(found, baseline=RIVAL)


def main() -> None:
    chosen = options("samples", __doc__ or "")
    torch.manual_seed(0)
    model = Masked().to(chosen.device)
    cases = CASES if not chosen.quick else {8: CASES[8]}
    save(chosen, "samples", [case(model, strong, least, chosen.repeats) for strong, least in cases.items()])


if __name__ == "__main__":
    main()
