"""The laws of the Markdown codec."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Doc, XmlFragment, XmlText

from collab.domain.codecs import CODECS
from collab.domain.markdown import check, parse
from collab.domain.markdown.fragment import insert, read
from collab.domain.markdown.nodes import empty

CODEC = CODECS["prosemirror"]
relaxed = settings(
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    max_examples=int(os.environ.get("FUZZ", "100")),
)


def seeded(text, client_id=1):
    doc = Doc(client_id=client_id)
    CODEC.seed(doc, text)
    return doc


def built(nodes):
    doc = Doc()
    root = doc.get("default", type=XmlFragment)
    with doc.transaction():
        for at, node in enumerate(nodes):
            insert(root, at, node)
    return doc


def live(doc):
    return [item.node for item in read(doc.get("default", type=XmlFragment))]


@relaxed
@given(data=st.data())
def test_without_edits_a_document_comes_back_byte_for_byte(data, markdownish):
    text = data.draw(markdownish)
    source = parse(text)
    assert source.text == text
    check(block.node for block in source.blocks)
    assert CODEC.export(seeded(text), text) == text


@relaxed
@given(data=st.data())
def test_the_tree_that_is_written_is_the_tree_that_was_read(data, markdownish, keys):
    text = data.draw(markdownish)
    assert keys(live(seeded(text))) == parse(text).keys


@relaxed
@given(data=st.data())
def test_rewriting_gives_the_new_text_byte_for_byte(data, editing):
    old, new = data.draw(editing)
    doc = seeded(old)
    CODEC.rewrite(doc, old, new)
    assert CODEC.export(doc, new) == new


@relaxed
@given(data=st.data())
def test_rewriting_leaves_the_tree_that_seeding_makes(data, editing, keys):
    old, new = data.draw(editing)
    doc = seeded(old)
    CODEC.rewrite(doc, old, new)
    assert keys(live(doc)) == keys(live(seeded(new)))


@relaxed
@given(data=st.data())
def test_our_own_writing_is_a_fixed_point(data, markdownish, rewritten):
    text = data.draw(markdownish)
    once = rewritten(text)
    assert rewritten(once) == once


@relaxed
@given(data=st.data())
def test_our_own_writing_means_the_same(data, markdownish, rewritten):
    text = data.draw(markdownish)
    assert parse(rewritten(text)).keys == parse(text).keys


@relaxed
@given(data=st.data())
def test_every_tree_markdown_can_say_survives_markdown(data, trees, keys):
    nodes = data.draw(trees)
    while nodes and nodes[-1].type == "paragraph" and not nodes[-1].content:
        nodes.pop()
    check(nodes)
    assert parse(CODEC.export(built(nodes), "")).keys == keys(nodes)


@relaxed
@given(data=st.data())
def test_an_export_after_live_edits_is_stable_and_hides_no_less(data, editing, trees):
    text = data.draw(editing)[0]
    doc = seeded(text)
    edit(data, doc, trees)
    exported = CODEC.export(doc, text)
    assert CODEC.export(doc, exported) == exported
    hidden = parse("".join(parse(text).gaps)).references
    assert set(hidden) <= set(parse(exported).references)


@relaxed
@given(data=st.data())
def test_an_export_after_live_edits_means_the_live_tree(data, editing, trees, keys):
    text = data.draw(editing.map(lambda pair: pair[0]).filter(lambda text: "<" not in text))
    doc = seeded(text)
    edit(data, doc, trees)
    nodes = live(doc)
    while nodes and empty(nodes[-1]):
        nodes.pop()
    expected = keys(nodes)
    exported = parse(CODEC.export(doc, text)).keys
    assert exported[: len(expected)] == expected
    assert not any(empty(block.node) is False for block in parse(CODEC.export(doc, text)).blocks[len(expected) :])


def edit(data, doc, trees):
    """Delete, insert, move and type at random, as clients do."""
    root = doc.get("default", type=XmlFragment)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(root.children)))
        what = data.draw(st.sampled_from(["delete", "insert", "move", "type"]))
        if what == "insert":
            for node in data.draw(trees):
                insert(root, at, node)
        elif at < len(root.children):
            node = read(root)[at].node
            if what in {"delete", "move"}:
                del root.children[at]
            if what == "move":
                insert(root, data.draw(st.integers(0, len(root.children))), node)
            if what == "type" and not node.raw and (text := first_text(root.children[at])):
                text.insert(0, data.draw(st.sampled_from(["word ", "*", "# ", "é"])))


def first_text(element):
    for child in element.children:
        if isinstance(child, XmlText):
            return child
        if not (child.tag == "codeBlock" and dict(child.attributes).get("language") == "raw-md") and (
            found := first_text(child)
        ):
            return found
    return None


@relaxed
@given(data=st.data())
def test_the_same_seed_gives_the_same_update(data, markdownish):
    text = data.draw(markdownish.filter(lambda text: not titled(text)))
    assert seeded(text).get_update() == seeded(text).get_update()


def titled(text):
    """The engine writes the two attributes of a link with a title in any order."""
    return any(len(mark.attrs) > 1 for node in parse(text).blocks for mark in marks(node.node))


def marks(node):
    return {*node.marks, *(mark for child in node.content for mark in marks(child))}


def test_seeding_twice_is_seeding_once(keys):
    text = "a [b](c 'd') e\n"
    doc = seeded(text)
    state, update = doc.get_state(), seeded(text).get_update()
    doc.apply_update(update)
    assert doc.get_state() == state
    assert keys(live(doc)) == parse(text).keys
