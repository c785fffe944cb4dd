"""Messages are short and safe to show, whatever got into them."""

from __future__ import annotations

import pytest

from iclight.errors import Cancelled, IclightError, RecipeError, first_line, plain, quoted

NASTY = "\x1b]0;owned\x07\r\x9b31m\u202e\u2066\u200b\ud800"


def test_a_quoted_value_is_its_repr_where_that_is_harmless():
    for value in ("a'b", "日落 🌅", 12.5, None, [1, "a"], {"a": 1}, 10**30):
        assert quoted(value) == repr(value)


@pytest.mark.parametrize("show", [quoted, plain, lambda text: first_line(ValueError(text))])
def test_what_a_terminal_obeys_is_escaped_and_what_is_long_is_cut(show):
    assert show(NASTY).isprintable()
    assert "\\x1b" in show(NASTY)
    for long in ("x" * 10**6, "\x1b" * 10**6):
        assert len(show(long)) == 200
        assert show(long).endswith("...")


def test_no_value_is_too_large_or_too_deep_to_be_shown():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (
        deep,
        list(range(10**6)),
        {str(number): number for number in range(10**5)},
        10**100_000,
        b"x" * 10**6,
    ):
        assert len(quoted(value)) <= 200


def test_the_first_line_of_an_empty_error_is_its_type():
    assert first_line(IndexError()) == "IndexError"
    assert first_line(ValueError("\n one\ntwo")) == "one"


@pytest.mark.parametrize("kind", [IclightError, RecipeError, Cancelled])
def test_a_message_holds_nothing_that_a_terminal_obeys_and_has_an_end(kind):
    error = kind(f"One {NASTY} line\nand another" + "x" * 10**6)
    assert str(error).startswith("One ]0;owned31m line\nand anotherx")
    assert len(str(error)) <= 1000
    assert error.args == (str(error),)
