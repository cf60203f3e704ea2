"""A GRU (Cho et al. 2014) written as a Python loop over time, run as written and through fxsolve."""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from comparing import compare


class LoopGRU(nn.Module):
    """h_t = (1 - z_t) n_t + z_t h_{t-1}, with the gates of nn.GRU: (T, B, H) -> (T, B, H)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.from_input = nn.Linear(size, 3 * size)
        self.from_state = nn.Linear(size, 3 * size)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], self.size)
        outputs = []
        for x_t in x:
            reset_x, update_x, new_x = self.from_input(x_t).chunk(3, dim=-1)
            reset_h, update_h, new_h = self.from_state(h).chunk(3, dim=-1)
            reset = torch.sigmoid(reset_x + reset_h)
            update = torch.sigmoid(update_x + update_h)
            new = torch.tanh(new_x + reset * new_h)
            h = (1 - update) * new + update * h
            outputs.append(h)
        return torch.stack(outputs)


def example(steps: int, batch: int, size: int, device: str = "cpu") -> tuple[LoopGRU, Tensor]:
    """A GRU with its initial weights, for inference, and a sequence of normal noise: (T, B, H)."""
    torch.manual_seed(0)
    model = LoopGRU(size).eval().requires_grad_(False)
    return model.to(device), torch.randn(steps, batch, size).to(device)


def factory() -> tuple[LoopGRU, tuple[Tensor]]:
    """For the command line: fxsolve report examples/gru_loop.py:factory."""
    model, x = example(4096, 1, 32)
    return model, (x,)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    model, x = example(options.steps, options.batch, options.size)
    compare(f"GRU, T={options.steps}, B={options.batch}, H={options.size}", model, (x,))


if __name__ == "__main__":
    main()
