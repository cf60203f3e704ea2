"""Two processes of one group on this machine, for the tests."""

import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

_SECONDS = 240  # after which processes that wait for one another are ended


def run_together(work: Callable[[], Any], folder: Path) -> list[Any]:
    """What `work()` returns in each of two processes, by rank; one that raises or hangs fails the test."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    both = [context.Process(target=_join_group, args=(rank, work, folder / "store", answers)) for rank in range(2)]
    for process in both:
        process.start()
    try:
        found = dict(answers.get(timeout=_SECONDS) for _ in both)
    except Empty:
        raise AssertionError("the processes wait for one another") from None
    finally:
        for process in both:
            process.join(5)
            process.kill()
    for rank, (_, error) in found.items():
        assert error is None, f"process {rank}: {error}"
    return [found[rank][0] for rank in range(2)]


def _join_group(rank: int, work: Callable[[], Any], store: Path, answers: Any) -> None:
    torch.set_num_threads(1)
    limit = timedelta(seconds=_SECONDS // 3)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=limit)
    torch.manual_seed(0)
    try:
        answer, error = work(), None
    except BaseException:
        answer, error = None, traceback.format_exc()
    answers.put((rank, (answer, error)))
    dist.destroy_process_group()
