"""Texts that are kept in tests/golden, one file each: what was found, without anything that is measured."""

import os
import re
from pathlib import Path

from torch import torch_version

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "FXSOLVE_UPDATE_GOLDEN"  # set to 1 to write the text files anew
IS_OLDER = torch_version.TorchVersion(torch_version.__version__) < (2, 13)  # texts are kept of torch 2.13
# What torch before that does in another way; tests of values follow it.
_OTHERWISE = {
    "table/life/inference_mode": "vmap fails on expanded tensors in inference mode",
    "table/training/trained_with_checkpoints": "checkpoints make twelve calls more",
    "table/training/trained_with_masks_that_both_passes_read": "count_nonzero has no batching rule",
}


def check_golden(name: str, text: str) -> None:
    """Compare with the kept text, or keep this one."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(UPDATE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no {name}.txt: run the tests with {UPDATE}=1"
    kept = path.read_text()
    if IS_OLDER:
        # torch.fx before 2.13 numbers the names of copied placeholders in another way.
        text, kept = (_without_numbers(text), _without_numbers(kept)) if name not in _OTHERWISE else ("", "")
    assert text == kept, f"what was found is not what {name}.txt says; {UPDATE}=1 writes it anew"


def _without_numbers(text: str) -> str:
    """The text without the numbers at the ends of names, and without the spaces that they need."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=[a-z0-9])_\d+\b", "", text))


def check_names(folder: str, names: set[str]) -> None:
    """No text is kept in a folder that no test compares with; updating removes such texts."""
    kept = {str(path.relative_to(GOLDEN / folder).with_suffix("")) for path in (GOLDEN / folder).rglob("*.txt")}
    if os.environ.get(UPDATE) == "1":
        for name in kept - names:
            (GOLDEN / folder / f"{name}.txt").unlink(missing_ok=True)
        return
    assert kept <= names, f"no test compares with these any more; {UPDATE}=1 removes them"


def without_paths(text: str) -> str:
    """The text with the names of files alone, without folders and line numbers."""
    return re.sub(r"\S*/([\w.]+\.py):\d+", r"\1", text)


def with_few_digits(text: str) -> str:
    """The text with four digits of long numbers: the last ones depend on the vector units of the machine."""
    return re.sub(r"\d+\.\d{5,}(e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)
