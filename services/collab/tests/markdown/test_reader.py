"""What Markdown becomes: real nodes wherever the schema has words for it, verbatim blocks elsewhere."""

import pytest

from collab.domain.markdown import parse
from collab.domain.markdown.nodes import to_json


def shown(text):
    return [brief(to_json(block.node)) for block in parse(text).blocks]


def brief(node):
    """A node as a short tuple: type, attributes that are set, content; a text as itself or with its marks."""
    if node["type"] == "text":
        marks = [mark["type"] for mark in node.get("marks", [])]
        return (node["text"], *marks) if marks else node["text"]
    attrs = {
        name: value
        for name, value in node.get("attrs", {}).items()
        if value is not None and (name, value) not in DEFAULT
    }
    return (node["type"], *([attrs] if attrs else []), *map(brief, node.get("content", [])))


def p(*content):
    return ("paragraph", *content)


DEFAULT = {("start", 1), *(("level", level) for level in range(1, 7))}
RAW = {"language": "raw-md"}


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (
            "a *b* **c** ~~d~~ ==e== <u>f</u> `g`",
            [
                p(
                    "a ",
                    ("b", "italic"),
                    " ",
                    ("c", "bold"),
                    " ",
                    ("d", "strike"),
                    " ",
                    ("e", "highlight"),
                    " ",
                    ("f", "underline"),
                    " ",
                    ("g", "code"),
                )
            ],
        ),
        ("a\nb  \nc\\\nd<br>e", [p("a b", ("hardBreak",), "c", ("hardBreak",), "d", ("hardBreak",), "e")]),
        ("&copy; \\* &#35;", [p("© * #")]),
        ("<http://a.b> [x](y 'z')", [p(("http://a.b", "link"), " ", ("x", "link"))]),
        ("[`a`](b) **`c`**", [p(("a", "link"), " ", ("c", "code"))]),
        ("&nbsp;", [p()]),
        ("# a\n\nb\n===", [("heading", "a"), ("heading", "b")]),
        (
            "- a\n- b\n  - c",
            [("bulletList", ("listItem", p("a")), ("listItem", p("b"), ("bulletList", ("listItem", p("c")))))],
        ),
        ("3. a\n4. b", [("orderedList", {"start": 3}, ("listItem", p("a")), ("listItem", p("b")))]),
        (
            "- [ ] a\n- [x] b",
            [("taskList", ("taskItem", {"checked": False}, p("a")), ("taskItem", {"checked": True}, p("b")))],
        ),
        ("- [ ] a\n- b", [("bulletList", ("listItem", p("[ ] a")), ("listItem", p("b")))]),
        ("- # a", [("bulletList", ("listItem", p(), ("heading", "a")))]),
        ("-\n- ![a](b)", [("bulletList", ("listItem", p()), ("listItem", p(), ("image", {"src": "b", "alt": "a"})))]),
        ("> a\n>\n> - b", [("blockquote", p("a"), ("bulletList", ("listItem", p("b"))))]),
        (">", [("blockquote", p())]),
        ("```js x\na\n```", [("codeBlock", {"language": "js x"}, "a")]),
        ("    a", [("codeBlock", "a")]),
        ("```\n```", [("codeBlock",)]),
        ("***", [("horizontalRule",)]),
        ("![a](b 'c')", [("image", {"src": "b", "alt": "a", "title": "c"})]),
        (
            "|a|b|\n|-|:-:|\n|c|",
            [
                (
                    "table",
                    ("tableRow", ("tableHeader", p("a")), ("tableHeader", {"align": "center"}, p("b"))),
                    ("tableRow", ("tableCell", p("c")), ("tableCell", {"align": "center"}, p())),
                )
            ],
        ),
        ("a[^1] $x_1*y*$", [p("a[^1] $x_1*y*$")]),
    ],
)
def test_markdown_becomes_nodes(text, nodes):
    assert shown(text) == nodes


@pytest.mark.parametrize(
    "text",
    [
        "<div>\na\n</div>",
        "a <b>b</b>",
        "a ![i](s) b",
        "[![i](s)](t)",
        "[^1]: note\n\n    more",
        "$$\na_b\n\n*c*\n$$",
        "Term\n: Definition",
        "|a|\n|-|\n|b|c|",
        "**a **b** c**",
        "[](empty)",
        "```raw-md\na\n```",
        "> [a]: b",
        ">" * 40 + " deep",
        "- " * 40 + "deep",
        "*a <u>b* c</u>",
    ],
)
def test_what_the_schema_cannot_say_is_kept_verbatim(text):
    assert shown(text) == [("codeBlock", RAW, text)]


def test_in_a_list_only_the_item_concerned_is_verbatim():
    assert shown("- a\n- <b>b</b>\n  c") == [
        ("bulletList", ("listItem", p("a")), ("listItem", p(), ("codeBlock", RAW, "<b>b</b>\nc")))
    ]


def test_very_deep_nesting_neither_fails_nor_loses_text():
    for text in (">" * 10_000 + "x", "".join("  " * n + "- x\n" for n in range(300)), "[" * 10_000, "*a " * 5_000):
        assert parse(text).text == text
        assert "".join(block.node.plain() for block in parse(text).blocks).count("x") == text.count("x")


def test_a_list_on_the_first_line_is_no_front_matter():
    assert parse("- - --- a\nb\n").keys == parse("x\n\n- - --- a\nb\n").keys[1:]


def test_front_matter_and_definitions_are_hidden_in_gaps():
    source = parse("---\na: b\n---\n# t\n\n[x]: y\n\nz\n")
    assert source.gaps == ["---\na: b\n---\n", "\n[x]: y\n\n", ""]
    assert [block.text for block in source.blocks] == ["# t\n", "z\n"]
