"""TipTap's own schema accepts every tree we write, and reads from it what we meant."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from collab.domain.markdown import MarkdownCodec, SchemaError, check, parse
from collab.domain.markdown.fragment import insert
from collab.domain.markdown.nodes import LINK_DEFAULTS, Mark, Node, raw, to_json
from collab.domain.markdown.schema import NODES

CODEC = MarkdownCodec()


@pytest.fixture(scope="module")
def packages():
    from deploy.editors import install

    return install()


@pytest.fixture(scope="module")
def tiptap(packages):
    """TipTap's verdict on each of many updates."""

    def verdicts(updates):
        script = Path(__file__).with_name("schema_check.mjs")
        lines = "".join(base64.b64encode(update).decode() + "\n" for update in updates)
        done = subprocess.run(
            ["node", str(script), str(packages)], input=lines, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    return verdicts


def update_of(nodes):
    doc = Doc()
    root = doc.get("default", type=XmlFragment)
    with doc.transaction():
        for at, node in enumerate(nodes):
            insert(root, at, node)
    return doc.get_update()


def full(json_node):
    """ProseMirror's JSON with all defaults, null ones left out, neighbouring texts of the same marks joined."""
    out = {"type": json_node["type"]}
    attrs = {**NODES[json_node["type"]].attrs, **json_node.get("attrs", {})}
    out["attrs"] = {name: value for name, value in attrs.items() if value is not None}
    if "text" in json_node:
        out["text"] = json_node["text"]
        out["marks"] = sorted((full_mark(mark) for mark in json_node.get("marks", [])), key=str)
    out["content"] = []
    for child in map(full, json_node.get("content", [])):
        last = out["content"][-1] if out["content"] else {}
        if child["type"] == "text" == last.get("type") and child["marks"] == last["marks"]:
            last["text"] += child["text"]
        else:
            out["content"].append(child)
    return out


def full_mark(mark):
    defaults = LINK_DEFAULTS if mark["type"] == "link" else {}
    attrs = {**defaults, **mark.get("attrs", {})}
    return {"type": mark["type"], "attrs": {name: value for name, value in attrs.items() if value is not None}}


def assert_accepted(tiptap, documents):
    verdicts = tiptap(update_of(nodes) for nodes in documents)
    assert len(verdicts) == len(documents)
    for nodes, verdict in zip(documents, verdicts, strict=True):
        assert "error" not in verdict, (verdict, nodes)
        assert full(verdict["json"])["content"] == [full(to_json(node)) for node in nodes]


def test_tiptap_accepts_all_examples_and_real_files(tiptap, examples, real_files):
    texts = [*examples.values(), *real_files.values()]
    assert_accepted(tiptap, [[block.node for block in parse(text).blocks] for text in texts])


def test_tiptap_accepts_whatever_is_read_and_all_trees(tiptap, markdownish, trees):
    documents = []

    @settings(
        max_examples=300,
        deadline=None,
        derandomize="FUZZ" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(text=markdownish, tree=trees)
    def collect(text, tree):
        documents.extend([[block.node for block in parse(text).blocks], tree])

    collect()
    assert_accepted(tiptap, documents)


def test_tiptap_accepts_rewritten_documents(tiptap, editing):
    updates = []

    @settings(
        max_examples=200,
        deadline=None,
        derandomize="FUZZ" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(pair=editing)
    def collect(pair):
        doc = Doc()
        CODEC.seed(doc, pair[0])
        CODEC.rewrite(doc, *pair)
        updates.append(doc.get_update())

    collect()
    assert [verdict for verdict in tiptap(updates) if "error" in verdict] == []


def test_the_check_can_fail(tiptap):
    def built(build):
        doc = Doc()
        root = doc.get("default", type=XmlFragment)
        with doc.transaction():
            build(root)
        return doc.get_update()

    def two_texts(root):
        paragraph = root.children.append(XmlElement("paragraph"))
        paragraph.children.append(XmlText("a"))
        paragraph.children.append(XmlText("b"))

    def bold_code(root):
        paragraph = root.children.append(XmlElement("paragraph"))
        text = paragraph.children.append(XmlText("a"))
        text.format(0, 1, {"bold": {}})
        text.format(0, 1, {"code": {}})

    def empty_quote(root):
        root.children.append(XmlElement("blockquote"))

    errors = [verdict.get("error") for verdict in tiptap(map(built, (two_texts, bold_code, empty_quote)))]
    assert errors == [
        "adjacent texts",
        "RangeError: Invalid collection of marks for node text: bold,code",
        "the client deleted something",
    ]


def paragraph(*content):
    return Node("paragraph", content=list(content))


def text(value="x", *marks):
    return Node("text", text=value, marks=tuple(map(Mark, marks)))


@pytest.mark.parametrize(
    "node",
    [
        Node("blockquote"),
        Node("bulletList", content=[Node("listItem", content=[Node("heading", {"level": 1})])]),
        Node("bulletList", content=[paragraph()]),
        Node("table"),
        Node("codeBlock", content=[text("x", "bold")]),
        paragraph(text("")),
        paragraph(text("x", "fancy")),
        paragraph(Node("image", {"src": "x"})),
        Node("heading", {"depth": 1}),
        Node("listItem", content=[paragraph()]),
        Node("footnote"),
    ],
)
def test_our_own_check_refuses_what_tiptap_refuses(node):
    with pytest.raises(SchemaError):
        check([node])


@settings(deadline=None, derandomize="FUZZ" not in os.environ, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_our_own_check_accepts_all_trees(data, trees):
    check(data.draw(trees))
    check([raw("<b>"), raw("")])
