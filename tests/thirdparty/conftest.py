"""Libraries for images import torchvision, which PyPI has for CUDA alone; without it the Python part is enough here."""

import importlib
import importlib.util

import torch

SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> None:
    """Import it, with the two ops declared that it registers shapes for but cannot load."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", SUPPRESSION)
        importlib.import_module("torchvision")


if importlib.util.find_spec("torchvision") is not None:
    import_torchvision()
