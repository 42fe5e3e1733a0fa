"""Plain text documents: LF inside, the author's bytes outside."""

import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab.domain.codecs import CODECS

CODEC = CODECS["text"]
LINES = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "é😀", "a b c", "\u2028", "\x0b", "\ufeff"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
    ).map("".join),
    max_size=12,
).map("".join)
TEXT = st.tuples(st.sampled_from(["", "\ufeff"]), LINES, st.sampled_from(["", "end"])).map("".join)


def opened(text):
    doc = Doc()
    CODEC.seed(doc, text)
    return doc


def root(doc):
    return doc.get("content", type=Text)


@settings(deadline=None, derandomize="FUZZ" not in os.environ)
@given(text=TEXT)
def test_without_edits_the_text_comes_back(text):
    doc = opened(text)
    assert "\r" not in str(root(doc))
    assert CODEC.export(doc, text) == text


@settings(deadline=None, derandomize="FUZZ" not in os.environ, max_examples=500)
@given(old=TEXT, new=TEXT)
@example(old="a\r\nb", new="a\nb\r\n")
def test_rewriting_gives_the_new_text(old, new):
    doc = opened(old)
    CODEC.rewrite(doc, old, new)
    assert CODEC.export(doc, new) == new


@pytest.mark.parametrize(
    ("text", "at", "what", "exported"),
    [
        ("a\r\nb\rc\n", 2, "X", "a\r\nXb\rc\n"),
        ("a\r\nb\r\nc", 2, "X\nY\n", "a\r\nX\r\nY\r\nb\r\nc"),
        ("\ufeffa", 1, "\nb", "\ufeffa\nb"),
        ("", 0, "a", "a"),
    ],
)
def test_new_lines_take_the_usual_end_and_old_ones_keep_theirs(text, at, what, exported):
    doc = opened(text)
    root(doc).insert(at, what)
    assert CODEC.export(doc, text) == exported


def test_keystrokes_in_the_same_line_survive():
    old, new = "one two\r\nthree é four\r\n", "one 2\r\nthree é 4\r\nfive\r\n"
    live = opened(old)
    other = Doc()
    other.apply_update(live.get_update())
    root(live).insert(len("one two\nthree é".encode()), "TYPED")
    CODEC.rewrite(other, old, new)
    live.apply_update(other.get_update(live.get_state()))
    assert CODEC.export(live, new) == "one 2\r\nthree éTYPED 4\r\nfive\r\n"


def test_a_small_change_of_a_long_text_is_a_small_update():
    old = "".join(f"line {n}\n" for n in range(20_000))
    new = old.replace("line 777\n", "line 7é7\n").replace("line 19000\n", "")
    doc = opened(old)
    state = doc.get_state()
    CODEC.rewrite(doc, old, new)
    assert len(doc.get_update(state)) < 60
    assert str(root(doc)) == new
