"""Messages are short and safe to show, whatever got into them."""

from __future__ import annotations

import copy
import pickle

import pytest

from iclight.errors import Cancelled, IclightError, ImageError, Message, RecipeError, Words, first_line, plain, quoted

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


def test_an_error_keeps_its_template_and_values_whatever_they_are_called():
    error = ImageError("{self} is {key}, {message:.1f} MB.", self="a{b}", key=Message("{n} long", n=3), message=2)
    assert str(error) == "a{b} is 3 long, 2.0 MB."
    assert (error.key, error.values["self"]) == ("{self} is {key}, {message:.1f} MB.", "a{b}")
    assert error.values["key"].values == {"n": 3}


def test_without_values_braces_are_braces_and_the_text_is_the_key():
    error = IclightError("{not} a {0} template")
    assert str(error) == error.key == "{not} a {0} template" and error.values == {}


def test_values_too_are_cut_and_hold_nothing_that_a_terminal_obeys():
    error = RecipeError("{name} is broken.", name=NASTY + "x" * 10**6)
    assert str(error).startswith("]0;owned31mx") and len(str(error)) <= 1000 and error.key == "{name} is broken."


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_of_an_error_keeps_template_and_values(again):
    told = {"what": Message("The {input}", input="mask"), "lights": Words(["left", "top"])}
    for error in (ImageError("{what}: {lights: or }", **told), Cancelled(), IclightError("{}")):
        other = again(error)
        assert type(other) is type(error) and str(other) == str(error) and other.args == error.args
        assert (other.key, other.values) == (error.key, error.values)
        assert [type(value) for value in other.values.values()] == [type(value) for value in error.values.values()]


def test_words_are_listed_with_or_without_a_last_joint():
    for words, plainly, joined in (("abc", "a, b, c", "a, b or c"), ("ab", "a, b", "a or b"), ("a", "a", "a")):
        assert (f"{Words(words)}", f"{Words(words): or }") == (plainly, joined)
