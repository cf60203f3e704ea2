"""Settings shared by all tests."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Start every test from the same random state; the seed is the value, for tests that start again."""
    torch.manual_seed(0)
    return 0
