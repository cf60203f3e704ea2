"""The path of somebody who sees fxsolve for the first time, in an environment of its own: `bash tools/stranger`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPU = 120  # seconds until the first gain


@pytest.mark.slow
def test_a_stranger_comes_to_a_gain_and_through_the_readme() -> None:
    """By the time of the processor: what else the machine does must not decide."""
    done = subprocess.run(
        ["bash", ROOT / "tools" / "stranger", "7200"], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = re.search(r"\( *(\d+) of CPU\)  the first gain", done.stdout)
    assert first is not None
    assert int(first[1]) <= CPU
    assert "True\nfxsolve report: Sampler\nemitted" in done.stdout
    assert done.stdout.rstrip().endswith("done")
