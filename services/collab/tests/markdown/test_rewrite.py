"""Foreign versions come into a live document as small operations: what others type meanwhile survives."""

import os
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from collab.domain.markdown import MarkdownCodec, parse
from collab.domain.markdown.align import align

CODEC = MarkdownCodec()


def opened(text):
    doc = Doc()
    CODEC.seed(doc, text)
    return doc


def fork(doc):
    other = Doc()
    other.apply_update(doc.get_update())
    return other


def root(doc):
    return doc.get("default", type=XmlFragment)


def texts(element):
    for child in element.children:
        if isinstance(child, XmlText):
            yield child
        elif isinstance(child, XmlElement):
            yield from texts(child)


def plain(doc):
    return "".join("".join(chunk for chunk, _ in text.diff()) for text in texts(root(doc)))


def merge(live, other):
    live.apply_update(other.get_update(live.get_state()))


def test_an_equal_version_costs_nothing():
    doc = opened("a *b*\n\n- c\n")
    before = doc.get_state(), doc.get_update()
    CODEC.rewrite(doc, "a *b*\n\n- c\n", "a\n_b_\n\n\n* c")
    assert (doc.get_state(), doc.get_update()) == before
    assert CODEC.export(doc, "a\n_b_\n\n\n* c") == "a\n_b_\n\n\n* c"


@pytest.mark.parametrize(
    ("old", "new", "limit"),
    [
        ("word " * 500, "word " * 250 + "new " + "word " * 250, 60),
        ("- a\n- b\n- c\n" * 50, "- a\n- b\n- c\n" * 49 + "- a\n- X\n- c\n", 60),
        ("a\n\n" * 100 + "b", "a\n\n" * 100 + "**b**", 80),
        ("| a | b |\n|-|-|\n| c | d |\n", "| a | b |\n|-|-|\n| c | e |\n", 60),
        ("- [ ] a\n", "- [x] a\n", 60),
        ("# a\n", "## a\n", 60),
        ("a\\\nb\\\nc", "a\\\nb2\\\nc", 60),
        ("```js\na\n```", "```py\na\n```", 60),
    ],
)
def test_a_small_change_is_a_small_update(old, new, limit):
    doc = opened(old)
    state = doc.get_state()
    CODEC.rewrite(doc, old, new)
    assert len(doc.get_update(state)) <= limit
    assert CODEC.export(doc, new) == new


@settings(
    deadline=None, derandomize="FUZZ" not in os.environ, suppress_health_check=list(HealthCheck), max_examples=150
)
@given(data=st.data())
def test_typing_and_a_foreign_version_both_survive(data, editing):
    old, new = data.draw(editing)
    live = opened(old)
    other = fork(live)
    blocks = [at for at, block in enumerate(root(live).children) if any(len(text) for text in texts(block))]
    if not blocks:
        return
    at = data.draw(st.sampled_from(blocks))
    place = data.draw(st.sampled_from([text for text in texts(root(live).children[at]) if len(text)]))
    before = "".join(chunk for chunk, _ in place.diff())[: data.draw(st.integers(0, 20))]
    place.insert(len(before.encode()), "TYPED")
    CODEC.rewrite(other, old, new)
    merge(live, other)
    merge(other, live)
    assert plain(live) == plain(other)
    if at in dict(align(parse(old).keys, parse(new).keys)):
        assert plain(live).count("TYPED") == 1
    assert not adjacent(root(live))


def adjacent(parent):
    children = list(parent.children)
    pairs = pairwise(children)
    return any(isinstance(a, XmlText) and isinstance(b, XmlText) for a, b in pairs) or any(
        adjacent(child) for child in children if isinstance(child, XmlElement)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("one two three\n", "one 2 three four\n"),
        ("one two three\n", "one **two** three\n"),
        ("one two three\n", "one  \ntwo three\n"),
        ("- x\n- one two three\n- y\n", "- x2\n- one two 3\n- y\n- z\n"),
        ("one two three\n\nb\n", "intro\n\none two three.\n\nb\n"),
        ("> q\n>\n> one two three\n", "> q2\n>\n> one two three!\n"),
        ("| one two three | a |\n|-|-|\n| b | c |\n", "| one two three | a |\n|-|-|\n| b | d |\n| e | f |\n"),
        ("```\none two three\n```\n", "```\none two 3\nx\n```\n"),
    ],
)
def test_keystrokes_in_the_very_paragraph_survive(old, new):
    live = opened(old)
    other = fork(live)
    place = next(text for text in texts(root(live)) if "one" in str(text))
    place.insert(3, "TYPED")
    CODEC.rewrite(other, old, new)
    merge(live, other)
    exported = CODEC.export(live, new)
    assert "oneTYPED" in exported
    assert exported.replace("TYPED", "") == new


def test_what_markdown_cannot_say_survives_a_rewrite():
    old = "![a](b)\n\n| a |\n|-|\n| b |\n\nc\n"
    doc = opened(old)
    root(doc).children[0].attributes["width"] = 120
    cell = root(doc).children[1].children[0].children[0]
    cell.attributes["colwidth"] = [100]
    CODEC.rewrite(doc, old, "![a](b 'title')\n\n| a |\n|-|\n| B |\n\nd\n")
    image, table = list(root(doc).children)[:2]
    assert dict(image.attributes)["width"] == 120
    assert dict(image.attributes)["title"] == "title"
    assert dict(table.children[0].children[0].attributes)["colwidth"] == [100]


def test_a_live_table_that_markdown_only_says_in_html_is_left_alone():
    from collab.domain.markdown.fragment import insert
    from collab.domain.markdown.nodes import Node

    doc = opened("a\n")
    two = Node("tableCell", {}, [parse("x").blocks[0].node, parse("y").blocks[0].node])
    insert(root(doc), 1, Node("table", content=[Node("tableRow", content=[two])]))
    old = CODEC.export(doc, "a\n")
    before = str(root(doc).children[1].tag), doc.get_state()
    CODEC.rewrite(doc, old, old)
    assert doc.get_state() == before[1]
    CODEC.rewrite(doc, old, "b" + old[1:])
    assert [child.tag for child in root(doc).children] == ["paragraph", "table"]
    assert CODEC.export(doc, "b" + old[1:]) == "b" + old[1:]


def test_many_blocks_and_long_lines_are_no_trap():
    old = "".join(f"{n % 7}\n\n" for n in range(3_000)) + "x" * 50_000 + "\n"
    new = "start\n\n" + old.replace("3\n\n4", "3\n\nnew\n\n4", 5) + "end\n"
    doc = opened(old)
    CODEC.rewrite(doc, old, new)
    assert CODEC.export(doc, new) == new


def test_bytes_are_counted_not_characters():
    old, new = "é😀日 **é😀** x\n", "é😀本 **é😀é** y\n"
    doc = opened(old)
    CODEC.rewrite(doc, old, new)
    assert CODEC.export(doc, new) == new
    assert plain(doc) == "é😀本 é😀é y"
