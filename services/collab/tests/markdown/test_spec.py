"""Every example of the specifications and every real file: the same bytes, and the same meaning in our own writing."""

import json

import pytest
from pycrdt import Doc

from collab.domain.markdown import MarkdownCodec, parse

CODEC = MarkdownCodec()


def round_trip(text):
    doc = Doc()
    CODEC.seed(doc, text)
    return CODEC.export(doc, text)


def test_the_examples_are_all_there(examples):
    assert len(examples) == 652 + 672


def test_all_examples_come_back_byte_for_byte(examples):
    assert {name: text for name, text in examples.items() if round_trip(text) != text} == {}


@pytest.mark.parametrize("eol", ["\r\n", "\r"])
def test_all_examples_come_back_with_other_line_ends(examples, eol):
    texts = [text.replace("\n", eol) for text in examples.values()]
    assert [text for text in texts if round_trip(text) != text] == []


def test_our_own_writing_of_the_examples_means_the_same(examples, rewritten, rendered, data):
    """The list of exceptions may only shrink."""
    changed = [name for name, text in examples.items() if rendered(rewritten(text)) != rendered(text)]
    assert changed == json.loads((data / "exceptions.json").read_text("utf-8"))
    assert len(changed) < len(examples) / 100


def test_all_real_files_come_back_byte_for_byte(real_files):
    assert len(real_files) > 20
    assert [name for name, text in real_files.items() if round_trip(text) != text] == []


def test_our_own_writing_of_real_files_means_the_same(real_files, rewritten, rendered):
    changed = [name for name, text in real_files.items() if rendered(rewritten(text)) != rendered(text)]
    assert len(changed) <= len(real_files) / 100, changed


def test_ordinary_prose_is_not_kept_verbatim(real_files):
    blocks = [block for name, text in real_files.items() if name.startswith("docs/") for block in parse(text).blocks]
    raw = [block.text for block in blocks if block.node.raw]
    assert len(raw) <= len(blocks) / 50, raw
