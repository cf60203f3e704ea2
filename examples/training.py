"""Minibatch training, for a number of steps or seconds, whichever ends first, and weights that are kept in a file."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

RATE = 1e-3
WEIGHTS = Path(__file__).resolve().parents[1] / "out" / "weights"


def kept(model: nn.Module, train: Callable[[], object], name: str, folder: Path = WEIGHTS) -> None:
    """Load the weights that an earlier call left in `folder`/`name`.pt, or else train and leave them there."""
    path = folder / f"{name}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return
    train()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)


def fit(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    data: Tensor,
    steps: int,
    seconds: float,
    title: str,
    batch: int = 100,
) -> float:
    """Minimise `loss` with Adam on batches of rows of `data`; returns the mean loss of the last 50 steps."""
    optimizer = Adam(model.parameters(), lr=RATE)
    losses = []
    start = time.perf_counter()
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[loss]}")
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(title, total=1.0, loss="")
        for number in range(steps):
            done = max(number / steps, (time.perf_counter() - start) / seconds)
            if done >= 1 and losses:
                break
            set_rate(optimizer, done)
            losses.append(step(optimizer, loss, data, batch))
            progress.update(task, completed=done, loss=f"loss {losses[-1]:.1f}")
    last = sum(losses[-50:]) / len(losses[-50:])
    print(f"{title}: {len(losses)} training steps in {time.perf_counter() - start:.0f} s, loss {last:.1f}")
    return last


def step(optimizer: Optimizer, loss: Callable[[Tensor], Tensor], data: Tensor, batch: int) -> float:
    """One optimizer step on random rows; returns its loss."""
    rows = data[torch.randint(len(data), (batch,), device=data.device)]
    optimizer.zero_grad()
    value = loss(rows)
    value.backward()
    optimizer.step()
    return value.item()


def set_rate(optimizer: Optimizer, done: float) -> None:
    """Full learning rate for the first half of training, then linearly down to 0."""
    for group in optimizer.param_groups:
        group["lr"] = RATE * min(1.0, 2 * max(0.0, 1 - done))
