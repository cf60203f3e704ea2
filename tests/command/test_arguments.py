"""What can be typed after `fxsolve`."""

import pytest

from fxsolve_command.arguments import BACKENDS, UsageError, completion, parse


def test_a_command_and_its_options_are_read() -> None:
    options = parse(["report", "model.py:make"])
    assert options.command == "report"
    assert options.backend in BACKENDS


def test_a_topic_is_optional() -> None:
    assert parse(["help"]).topic is None
    assert parse(["help", "schedules"]).topic == "schedules"


@pytest.mark.parametrize("typed", [[], ["solve"], ["report"], ["completion", "cmd.exe"]])
def test_what_is_no_command_is_answered_with_how_to_write_one(typed: list[str]) -> None:
    with pytest.raises(UsageError, match="usage: fxsolve"):
        parse(typed)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_learns_every_command(shell: str) -> None:
    script = completion(shell)
    assert all(name in script for name in ("report", "graph", "run", "bench", "doctor"))
