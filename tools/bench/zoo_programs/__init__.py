"""Sequential programs as people write them in plain PyTorch, and of libraries; `members` has them all by name."""

from zoo_programs import (
    deep,
    filters,
    flows,
    learning,
    libraries,
    neurons,
    recurrences,
    samplers,
    state_spaces,
    steppers,
    tables,
)
from zoo_programs.member import Factory

_FILES = (recurrences, state_spaces, flows, samplers, steppers, neurons, filters, tables, learning, deep, libraries)


def members() -> dict[str, Factory]:
    """How every program is made, by its name."""
    return {name: make for file in _FILES for name, make in file.PROGRAMS.items()}
