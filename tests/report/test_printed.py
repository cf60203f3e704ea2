"""Plain text, and terminals."""

import io

from rich.text import Text

from fxsolve.report.printed import plain_text, print_on


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_plain_text_has_no_colour_and_no_space_at_the_ends_of_lines() -> None:
    assert plain_text(lambda _: Text("a  \nb", "red")) == "a\nb\n"


def test_plain_ascii_escapes_all_else() -> None:
    assert plain_text(lambda _: Text("h\u2080"), ascii=True) == "h\\u2080\n"
    assert plain_text(lambda _: Text("h\u2080")) == "h\u2080\n"


def test_a_terminal_gets_colours_and_a_file_does_not() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        print_on(stream, lambda _: Text("a", "bold"))
    assert file.getvalue() == "a\n"
    assert terminal.getvalue().strip().strip("\x1b[0m1") == "a"
