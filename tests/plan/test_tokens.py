"""The words of a schedule are those of its text, each at its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.errors import ScheduleError
from fxsolve.plan.reader import TextReader, Token, one_of, tokens_of

TEXT = "gs(loop0[0:8], jacobi(a.b, atol=1e-06))"


def reader(text: str) -> TextReader:
    return TextReader(text, tokens_of(text), "loop0[0:8]")


def test_numbers_names_and_marks_are_told_apart() -> None:
    kinds = [(token.kind, token.text) for token in tokens_of("a.b_1[2:1e-3]?")]
    marks = [("[", "["), ("number", "2"), (":", ":"), ("number", "1e-3"), ("]", "]")]
    assert kinds == [("name", "a.b_1"), *marks, ("other", "?"), ("end", "the end")]


@given(st.text(st.sampled_from(TEXT + " \n?"), max_size=30))
def test_every_word_stands_where_the_text_has_it_and_no_letter_is_left_out(text: str) -> None:
    *tokens, end = tokens_of(text)
    assert all(text.startswith(token.text, token.position) for token in tokens)
    assert "".join(token.text for token in tokens) == "".join(text.split())
    assert end == Token("end", "the end", len(text))


def test_words_are_taken_in_order_and_only_where_they_fit() -> None:
    words = reader("newton(3, 0.5)")
    assert words.word("jacobi", "newton") == "newton"
    assert not words.accept("[")
    assert words.accept("(")
    assert words.count("step") == 3
    assert words.take(",", "','").position == 8
    assert words.real_number() == 0.5
    assert [token.kind for token in words.tokens] == [")", "end"]


@pytest.mark.parametrize(
    ("text", "ask", "expected"),
    [
        ("0", lambda words: words.count("sweep"), "expected at least one sweep, found 0"),
        ("1.5", lambda words: words.whole_number(), "expected a whole number, found 1.5"),
        ("x", lambda words: words.word("full", "diagonal", "block"), "expected full, diagonal or block, found x"),
        ("", lambda words: words.take("name", "a repeat"), "expected a repeat, found the end"),
    ],
)
def test_a_slip_is_shown_with_its_place_and_what_there_is(text, ask, expected: str) -> None:
    words = reader(f"  {text}")
    with pytest.raises(ScheduleError) as error:
        ask(words)
    assert str(error.value) == f"{expected}\n    {text}\n    ^\nequations: loop0[0:8]"


def test_choices_are_read_as_a_sentence() -> None:
    assert (one_of(["a"]), one_of(["a", "b"]), one_of(["a", "b", "c"])) == ("a", "a or b", "a, b or c")
