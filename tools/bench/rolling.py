"""What finding and classifying the loops of a recorded program costs, as the number of calls grows.

One thread, medians of CPU time, so that other work on the machine does not count. `read` flattens the graph to
integers, `roll` finds the loops in them, `partition` is all the way to a system.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from capture import LoopGRU, seconds, write_columns

from fxsolve.capture.program import Program
from fxsolve.ir.calls import dead_views
from fxsolve.loops.partition import partition
from fxsolve.loops.rolling.roll import roll
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.stages import capture

LIMIT_SECONDS = 1.0
LIMIT_CALLS = 70_000


def measure(name: str, program: Program, repeats: int) -> dict[str, Any]:
    """One row: the number of calls and steps, and the seconds of each stage."""
    graph = program.module.graph
    reading, calls = seconds(lambda: read_calls(graph, dead_views(graph)), repeats)
    rolling, loops = seconds(lambda: roll(calls), repeats)
    partitioning, parts = seconds(lambda: partition(program), repeats)
    return {
        "program": name,
        "calls": len(calls.nodes),
        "steps": [loop.window.trips for loop in loops.loops],
        "repeats": [repeat.length for repeat in parts.system.repeats],
        "read_s": reading,
        "roll_s": rolling,
        "partition_s": partitioning,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/rolling.json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="short loops, two repeats: checks that the script runs")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 2
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for T in (64, 128) if options.quick else (256, 1024, 3072, 4096):
        for name, program, x in (
            ("GRU loop", LoopGRU(32), torch.randn(T, 1, 32)),
            ("column writes", write_columns, torch.randn(T, 8)),
        ):
            with torch.no_grad():
                captured = capture(program, x)
            rows.append(row := measure(name, captured, options.repeats))
            kept = row["roll_s"] < LIMIT_SECONDS * max(1.0, row["calls"] / LIMIT_CALLS)
            print(
                f"{name} T={T}, {row['calls']} calls: read {row['read_s']:.3f} s, roll {row['roll_s']:.3f} s "
                f"({'kept' if kept else 'MISSED'}), partition {row['partition_s']:.3f} s"
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
