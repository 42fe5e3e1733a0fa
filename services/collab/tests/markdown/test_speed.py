"""No input is a trap: what is large costs what its size is worth. Bounds are ten times what was measured."""

import time

import pytest
from pycrdt import Doc, XmlFragment

from collab.domain.markdown import MarkdownCodec, parse

CODEC = MarkdownCodec()


def cpu(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def test_an_export_with_one_changed_block_is_fast(real_files):
    text = ("\n\n".join(real_files.values()))[:100_000]
    doc = Doc()
    CODEC.seed(doc, text)
    root = doc.get("default", type=XmlFragment)
    place = next(
        at for at, block in enumerate(parse(text).blocks) if block.node.type == "paragraph" and block.node.content
    )
    root.children[place].children[0].insert(0, "X")
    seconds, exported = cpu(lambda: CODEC.export(doc, text))
    assert len(exported) > len(text)
    assert seconds < 1.5


@pytest.mark.parametrize(
    "text",
    [
        "a\n\n" * 8_000,
        "- a\n" * 4_000,
        "> a\n" * 4_000,
        "a " * 100_000,
        "*a* " * 3_000,
        "[a](b) " * 5_000,
        "[a][b] " * 3_000 + "\n\n[b]: c\n",
        "~" * 50_000 + "\n\n" + "=a" * 8_000,
        "`" * 20_000 + "a",
        "| a | b |\n|-|-|\n" + "| c | d |\n" * 3_000,
        "$a " * 8_000,
        "[^a]: b\n" * 3_000,
        "a\n: b\n" * 3_000,
    ],
    ids=lambda text: text[:8],
)
def test_seeding_exporting_and_rewriting_large_documents(text):
    doc = Doc()
    seconds, _ = cpu(lambda: CODEC.seed(doc, text))
    assert seconds < 20
    seconds, exported = cpu(lambda: CODEC.export(doc, text))
    assert exported == text
    assert seconds < 20
    new = "x" + text[:-1] + "y\n"
    seconds, _ = cpu(lambda: CODEC.rewrite(doc, text, new))
    assert seconds < 40
    assert CODEC.export(doc, new) == new
