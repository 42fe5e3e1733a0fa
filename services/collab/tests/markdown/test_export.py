"""Exports after edits: only what was edited changes, nothing hidden is lost, and what is written is read back."""

import pytest
from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from collab.domain.markdown import MarkdownCodec, parse
from collab.domain.markdown.fragment import insert
from collab.domain.markdown.nodes import Mark, Node, key

CODEC = MarkdownCodec()


def opened(text):
    doc = Doc()
    CODEC.seed(doc, text)
    return doc, doc.get("default", type=XmlFragment)


def first_text(element):
    while not isinstance(element, XmlText):
        element = element.children[0]
    return element


def block(text):
    return parse(text).blocks[0].node


def typed(text, at, what="X"):
    """The document exported after `what` was typed at the start of the block number `at`."""
    doc, root = opened(text)
    first_text(root.children[at]).insert(0, what)
    return CODEC.export(doc, text)


@pytest.mark.parametrize(
    ("text", "at", "exported"),
    [
        ("a\n\n\n\nb\r\nc  \n***\n", 0, "Xa\n\n\n\nb\r\nc  \n***\n"),
        ("a\r\n\r\nb\r\n", 1, "a\r\n\r\nXb\r\n"),
        ("\ufeffa\n\nb", 1, "\ufeffa\n\nXb"),
        ("# a\nb\n", 1, "# a\nXb\n"),
        ("# a\nb\n", 0, "# Xa\nb\n"),
        ("a\n==\n\nb", 0, "Xa\n==\n\nb"),
        ("a\nb\nc\n", 0, "Xa\nb\nc\n"),
        ("a  \nb\\\nc\n", 0, "Xa  \nb\\\nc\n"),
        ("a &amp; \\_b\\_ __c__ *d*\n", 0, "Xa &amp; \\_b\\_ __c__ *d*\n"),
        ("a [`b`](c) **`d`** [E][f] [f]\n\n[f]: g\n", 0, "Xa [`b`](c) **`d`** [E][f] [f]\n\n[f]: g\n"),
        ("*   a\n\n*   b\n    c\n", 0, "*   Xa\n\n*   b\n    c\n"),
        ("1) a\n1) b\n", 0, "1) Xa\n1) b\n"),
        ("- a\n - b\n    - c\n", 0, "- Xa\n - b\n    - c\n"),
        (">a\n>\n>  b\n", 0, "> Xa\n>\n>  b\n"),
        ("|a |b |\n|--|--|\n|c |d |\n", 0, "| Xa | b |\n|--|--|\n|c |d |\n"),
        ("~~~~ py\na\n~~~~\n", 0, "~~~~ py\nXa\n~~~~\n"),
        ("---\nx: y\n---\na\n\n[r]: s\n", 0, "---\nx: y\n---\nXa\n\n[r]: s\n"),
        ("a\n\n    b\n", 1, "a\n\n```\nXb\n```\n"),
        ("a\n", 0, "Xa\n"),
    ],
)
def test_typing_changes_only_what_it_must(text, at, exported):
    assert typed(text, at) == exported


def test_a_changed_item_leaves_its_neighbours_bytes():
    text = "+   one\n+   two   \n    more\n\n      - deep\n+   three\n"
    doc, root = opened(text)
    first_text(root.children[0].children[2]).insert(0, "X")
    assert CODEC.export(doc, text) == text.replace("three", "Xthree")


def test_after_one_edit_all_other_blocks_of_real_files_keep_their_bytes(real_files):
    for text in [text for text in real_files.values() if len(text) < 20_000]:
        source = parse(text)
        places = [at for at, item in enumerate(source.blocks) if item.node.type == "paragraph" and item.node.content]
        for at in places[len(places) // 2 :][:1]:
            doc, root = opened(text)
            first_text(root.children[at]).insert(0, "X")
            exported = parse(CODEC.export(doc, source))
            assert [b.text for b in exported.blocks[:at]] == [b.text for b in source.blocks[:at]]
            assert [b.text for b in exported.blocks[at + 1 :]] == [b.text for b in source.blocks[at + 1 :]]
            assert [*exported.gaps[:at], *exported.gaps[at + 2 :]] == [*source.gaps[:at], *source.gaps[at + 2 :]]


@pytest.mark.parametrize(
    ("text", "gone", "exported"),
    [
        ("a\n\n[r]: s\n\nb\n\nc [r]\n", [0], "[r]: s\n\nb\n\nc [r]\n"),
        ("a\n\n[r]: s\n\nb\n\nc [r]\n", [0, 1], "[r]: s\n\nc [r]\n"),
        ("---\na: b\n---\n\nc\n", [0], "---\na: b\n---\n\n"),
        ("a\n\nb\n\n[r]: s", [1], "a\n\n[r]: s"),
        ("a\n\nb\n", [1], "a\n"),
        ("a\n\nb", [1], "a"),
        ("a\n\n\nb\n\nc\n", [1], "a\n\nc\n"),
        ("a\n", [0], ""),
        ("- a\n\nx\n\n- b\n", [1], "- a\n\n<!-- -->\n\n- b\n"),
        ("- a\n\nx\n\n    b\n", [1], "- a\n\n<!-- -->\n\n    b\n"),
        ("# a\nb\n# c\n", [1], "# a\n\n# c\n"),
    ],
)
def test_deleting_blocks_keeps_what_is_hidden_and_who_is_who(text, gone, exported):
    doc, root = opened(text)
    left = [item.key for at, item in enumerate(parse(text).blocks) if at not in gone]
    for at in reversed(gone):
        del root.children[at]
    assert CODEC.export(doc, text) == exported
    assert parse(exported).keys == left


@pytest.mark.parametrize(
    ("text", "at", "new", "exported"),
    [
        ("a\r\n\r\nb", 1, "new", "a\r\n\r\nnew\r\n\r\nb"),
        ("a", 1, "new", "a\n\nnew"),
        ("a\n", 1, "new", "a\n\nnew\n"),
        ("a\r# \n", 1, "---", "a\r\r\n---\n\n# \n"),
        ("", 0, "new", "new\n"),
        ("  ", 0, "- new", "  \n- new"),
        ("---\n\na\n", 2, "---", "\n---\n\na\n\n---\n"),
        ("---\n\na\n", 2, "b", "---\n\na\n\nb\n"),
        ("\n\n", 0, "new", "\n\nnew\n"),
        ("---\nx: y\n---\na\n", 0, "new", "---\nx: y\n---\n\nnew\n\na\n"),
        ("a\n\n[r]: s\n", 1, "new", "a\n\nnew\n\n[r]: s\n"),
        ("```\na", 1, "new", "```\na\n```\n\nnew"),
        ("- a\n", 1, "- b", "- a\n\n* b\n"),
        ("- a\n", 0, "- b", "- b\n\n<!-- -->\n\n- a\n"),
        ("* a\n\nb\n", 2, "- c", "* a\n\nb\n\n* c\n"),
        ("a\nb\n", 1, "&nbsp;", "a\nb\n"),
        ("*a*<b>\n", 1, "*c*<d>", "*a*<b>\n\n*c*<d>\n"),
        ("- *a\n: <b>\n", 1, "- b", "- *a\n: <b>\n\n<!-- -->\n\n- b\n"),
        ("a\n\nb\n", 1, "&nbsp;", "a\n\n&nbsp;\n\nb\n"),
        ("a\n\n&nbsp;\n", 2, "&nbsp;", "a\n\n&nbsp;\n"),
    ],
)
def test_new_blocks_stand_apart(text, at, new, exported):
    doc, root = opened(text)
    insert(root, at, block(new))
    assert CODEC.export(doc, text) == exported


def test_a_moved_block_keeps_its_bytes():
    text = "*  [`a`](b)   \n\nfirst\n\nlast\n"
    doc, root = opened(text)
    del root.children[0]
    insert(root, 2, block(text))
    assert CODEC.export(doc, text) == "first\n\nlast\n\n*  [`a`](b)   \n"


def test_a_link_outlives_the_block_its_address_was_defined_in():
    text = "[foo] and [bar]\n\n[foo]\n\n> [foo]: /url\n\n[bar]: /bar\n"
    doc, root = opened(text)
    del root.children[2]
    exported = "[foo](/url) and [bar]\n\n[foo](/url)\n\n[bar]: /bar\n"
    assert CODEC.export(doc, text) == exported
    assert CODEC.export(doc, exported) == exported


def test_text_that_looks_like_markdown_stays_text():
    texts = [
        "# a",
        "1. b",
        "- c",
        "> d",
        "[r]",
        "[r]: x",
        "<b>",
        "&amp;",
        "***",
        "a | b",
        "`",
        "**x**",
        "$$",
        "=====",
        "+",
        "~ a",
    ]
    for before in ("", "[r]: s\n"):
        doc, root = opened(before)
        for at, text in enumerate(texts):
            insert(root, at, Node("paragraph", content=[Node("text", text=text)]))
        exported = CODEC.export(doc, before)
        assert [item.node.plain() for item in parse(exported).blocks] == texts


def test_what_tiptap_cannot_nest_is_written_once_it_is_there():
    doc, root = opened("")
    paragraph = root.children.append(XmlElement("paragraph"))
    text = paragraph.children.append(XmlText("ab"))
    text.format(0, 2, {"code": {}})
    text.format(0, 2, {"bold": {}})
    assert CODEC.export(doc, "") == "`ab`\n"


def test_attributes_that_markdown_cannot_say_change_no_byte():
    text = "![a](b)\n\n| a |\n|-|\n| b |\n"
    doc, root = opened(text)
    root.children[0].attributes["width"] = 120
    for row in root.children[1].children:
        row.children[0].attributes["colwidth"] = [100]
    assert CODEC.export(doc, text) == text


def test_a_table_gfm_cannot_say_is_written_as_html():
    cell = Node("tableCell", {"colspan": 2}, [block("a *b*"), block("- c"), block("```\nd\n\ne\n```")])
    doc, root = opened("")
    insert(root, 0, Node("table", content=[Node("tableRow", content=[cell])]))
    exported = CODEC.export(doc, "")
    assert [item.node.raw for item in parse(exported).blocks] == [True]
    for part in ('<td colspan="2">', "<em>b</em>", "<li>c</li>", "d&#10;\ne"):
        assert part in exported


def test_nothing_live_makes_an_export_fail():
    doc, root = opened("")
    root.children.append(XmlText("loose"))
    unknown = root.children.append(XmlElement("callout"))
    unknown.children.append(XmlElement("paragraph")).children.append(XmlText("kept"))
    paragraph = root.children.append(XmlElement("paragraph"))
    paragraph.children.append(XmlText("a"))
    paragraph.children.append(XmlText("b"))
    paragraph.children.append(XmlElement("mention")).attributes["id"] = "x"
    odd = root.children.append(XmlElement("heading"))
    odd.attributes["level"] = 9
    odd = root.children.append(XmlElement("heading"))
    odd.attributes["level"] = {"a": [1]}
    odd = root.children.append(XmlElement("image"))
    odd.attributes["src"] = ["x"]
    odd = root.children.append(XmlElement("orderedList"))
    odd.attributes["start"] = "one"
    cell = root.children.append(XmlElement("table")).children.append(XmlElement("tableRow")).children
    cell = cell.append(XmlElement("tableHeader"))
    cell.attributes["colspan"] = "2"
    cell.attributes["align"] = [1]
    root.children.append(XmlElement("table"))
    root.children.append(XmlElement("bulletList"))
    text = root.children.append(XmlElement("paragraph")).children.append(XmlText("m"))
    text.format(0, 1, {"comment--AbCdEf12": {"id": {"a": [1]}}})
    text.format(0, 1, {"link": {"href": ["x"]}})
    text.format(0, 1, {"bold": True})
    exported = CODEC.export(doc, "")
    for part in ("loose", "kept", "ab", "m"):
        assert part in exported


def test_a_live_tree_of_any_depth_is_exported():
    doc, root = opened("")
    parent = root
    with doc.transaction():
        for _ in range(3_000):
            parent = parent.children.append(XmlElement("blockquote"))
        parent.children.append(XmlElement("paragraph")).children.append(XmlText("deep"))
    assert CODEC.export(doc, "").endswith("> deep\n")


def test_marks_are_told_apart_whatever_their_order():
    both = (Mark("bold"), Mark("italic"))
    assert key(Node("paragraph", content=[Node("text", text="a", marks=both)])) == key(
        Node("paragraph", content=[Node("text", text="a", marks=both[::-1])])
    )
