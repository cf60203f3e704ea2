"""Lines of the user's file."""

from pathlib import Path

from fxsolve.report.source import loop_line, source_line

CODE = """\
def run(x):
    for i in range(3):
        while x < i:
            x = x + 1
        x = x * 2
    return x
"""


def test_the_innermost_loop_around_a_line_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(CODE)
    assert loop_line(f"{path}:4") == (f"{path}:3", "while x < i:")
    assert loop_line(f"{path}:5") == (f"{path}:2", "for i in range(3):")
    assert loop_line(f"{path}:6") == (f"{path}:6", "")
    assert source_line(f"{path}:6") == "return x"


def test_of_what_is_no_line_there_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("for (")
    assert source_line(f"{tmp_path}/gone.py:3") == ""
    assert source_line(f"{tmp_path}/broken.py:99") == ""
    assert loop_line(f"{tmp_path}/broken.py:1")[1] == ""
    assert loop_line("somewhere") == ("somewhere", "")
