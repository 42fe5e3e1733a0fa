"""Edits of content: exact, and refused where they do not say which place they mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.domain import (
    Append,
    FindAmbiguousError,
    FindNotFoundError,
    Prepend,
    Replace,
    apply_edits,
    only_adds,
)

PROPERTY = settings(deadline=None, max_examples=150, database=None)
TEXT = st.text("ab\r\n", max_size=12)


@pytest.mark.parametrize(
    ("text", "edits", "result"),
    [
        ("one two", [Replace("two", "2")], "one 2"),
        ("one two", [Replace("one ", "")], "two"),
        ("a\n", [Append("b\n"), Append("c")], "a\nb\nc"),
        ("a\n", [Prepend("b\n"), Prepend("c\n")], "c\nb\na\n"),
        ("a", [Append("b"), Append("c")], "abc"),
        ("a\n", [Replace("a", "x y"), Replace("y", "z")], "x z\n"),
        ("a\r\nb", [Replace("\r\n", "\n")], "a\nb"),
        ("\ufeffa", [Prepend("b\n")], "\ufeffb\na"),
        ("", [Append("a")], "a"),
        ("a", [], "a"),
    ],
    ids=[
        "replace", "remove", "append", "prepend", "onto an unterminated line", "in order", "line ends",
        "after the mark", "to nothing", "none",
    ],
)  # fmt: skip
def test_edits_are_applied_exactly_and_in_order(text, edits, result):
    assert apply_edits(text, edits) == result


@pytest.mark.parametrize(("text", "find"), [("abc", "x"), ("", "x"), ("abc", ""), ("", "")])
def test_a_text_that_does_not_occur_is_refused(text, find):
    with pytest.raises(FindNotFoundError) as caught:
        apply_edits(text, [Replace(find, "y")])
    assert caught.value.find == find


@pytest.mark.parametrize(("text", "find", "count"), [("a b a b a", "a", 3), ("aaa", "aa", 2), ("abab", "ab", 2)])
def test_a_text_that_occurs_more_than_once_is_refused_with_the_count(text, find, count):
    with pytest.raises(FindAmbiguousError) as caught:
        apply_edits(text, [Replace(find, "y")])
    assert caught.value.count == count
    assert str(count) in str(caught.value)


def test_nothing_is_applied_if_one_edit_fails():
    text = "a b"
    with pytest.raises(ValueError, match="does not occur"):
        apply_edits(text, [Replace("a", "x"), Replace("a", "y")])
    assert text == "a b"


@PROPERTY
@given(TEXT, TEXT, TEXT)
def test_additions_are_plain_concatenation(text, before, after):
    assert apply_edits(text, [Append(after), Prepend(before)]) == before + text + after


def test_only_additions_mean_the_same_on_any_version():
    assert only_adds([Append("a"), Prepend("b")])
    assert not only_adds([Append("a"), Replace("b", "c")])
