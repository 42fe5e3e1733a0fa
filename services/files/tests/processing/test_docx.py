"""Word documents: text, headings, tables, pages; archives that attack."""

import io
import struct
import tracemalloc

import pytest

from files.processing import docx
from files.processing.docx import docx_facts
from files.processing.facts import Facts, Problem
from files.processing.media_types import DOCX

from . import samples
from .samples import paragraph

BREAK = '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
RENDERED = "<w:r><w:lastRenderedPageBreak/></w:r>"


def facts(data: bytes) -> Facts:
    return docx_facts(io.BytesIO(data), DOCX)


def texts(body: str, **options: str) -> list[str]:
    found = facts(samples.docx(body, **options))
    assert found.problem is None
    return [page.text for page in found.text or ()]


def test_paragraphs_and_what_is_in_them() -> None:
    body = (
        paragraph("one &amp; two") + "<w:p><w:pPr><w:tabs><w:tab w:val='left' w:pos='9'/></w:tabs></w:pPr>"
        "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/>"
        "<w:t>c</w:t><w:noBreakHyphen/></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>"
    )
    found = facts(samples.docx(body))
    assert found.pages is None
    assert texts(body) == ["one & two\na\tb\nc-link"]


def test_headings_by_the_name_of_their_style() -> None:
    styles = (
        '<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
        '<w:style w:styleId="X"><w:name w:val="Body"/></w:style>'
    )
    body = paragraph("Titel", "berschrift2") + paragraph("text", "X") + paragraph("more")
    assert texts(body, styles=styles) == ["## Titel\ntext\nmore"]


def test_tables_are_rows_with_tabs() -> None:
    def cell(content: str) -> str:
        return f"<w:tc>{content}</w:tc>"

    inner = f"<w:tbl><w:tr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr></w:tbl>"
    rows = (
        f"<w:tr>{cell(paragraph('a'))}{cell(paragraph('b') + paragraph('c'))}</w:tr>"
        f"<w:tr>{cell('<w:p/>')}{cell(inner + paragraph('z'))}</w:tr>"
    )
    assert texts(paragraph("before") + f"<w:tbl>{rows}</w:tbl>" + paragraph("after")) == [
        "before\na\tb c\n\tx y z\nafter"
    ]


def test_pages_where_a_break_was_set_or_rendered() -> None:
    assert texts(paragraph("one") + BREAK + paragraph("two")) == ["one", "two"]
    assert texts(f"<w:p><w:r><w:t>on</w:t></w:r>{RENDERED}<w:r><w:t>e</w:t></w:r></w:p>") == ["on", "e"]
    both = paragraph("one") + BREAK + f"<w:p>{RENDERED}<w:r><w:t>two</w:t></w:r></w:p>"
    assert texts(both) == ["one", "two"], "Word marks an explicit break twice"
    before = paragraph("one") + "<w:p><w:pPr><w:pageBreakBefore/></w:pPr><w:r><w:t>two</w:t></w:r></w:p>"
    assert texts(before) == ["one", "two"]
    assert texts(before.replace("Before/>", 'Before w:val="0"/>')) == ["one\ntwo"]
    found = facts(samples.docx(paragraph("one") + BREAK + BREAK + paragraph("three")))
    assert (found.pages, [page.number for page in found.text or ()]) == (3, [1, 3])


def test_a_break_within_a_table_row_follows_the_row() -> None:
    broken = f"<w:tc>{paragraph('a')}<w:p>{RENDERED}<w:r><w:t>b</w:t></w:r></w:p></w:tc>"
    row = f"<w:tr>{broken}<w:tc>{paragraph('c')}</w:tc></w:tr>"
    assert texts(f"<w:tbl>{row}</w:tbl>{paragraph('d')}") == ["a b\tc", "d"]


def test_text_boxes_count_once() -> None:
    compat = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = paragraph("box")
    choices = f"<mc:Choice>{box}</mc:Choice><mc:Fallback><x>{box}</x></mc:Fallback>"
    body = f'<w:p><w:r><mc:AlternateContent xmlns:mc="{compat}">{choices}</mc:AlternateContent></w:r></w:p>'
    assert "".join(texts(body)).count("box") == 1


def test_an_entry_that_says_how_large_it_is_is_refused_unread() -> None:
    bomb = samples.docx(paragraph("a" * (docx.MAX_PART_BYTES + 1)))
    tracemalloc.start()
    try:
        assert facts(bomb) == Facts(DOCX, problem=Problem.DOCX_TOO_LARGE)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_an_entry_that_lies_about_its_size_is_counted_as_it_comes() -> None:
    bomb = samples.docx("<w:p/>" * 5_000_000)
    assert facts(bomb).problem == Problem.DOCX_TOO_LARGE, "its ratio"
    for size in (1000, 2**31):
        lie = samples.lying(bomb, "word/document.xml", size)
        tracemalloc.start()
        try:
            assert facts(lie).problem in {Problem.DOCX_TOO_LARGE, Problem.DOCX_UNREADABLE}, size
            assert tracemalloc.get_traced_memory()[1] < 40_000_000
        finally:
            tracemalloc.stop()


def test_a_long_document_is_no_bomb() -> None:
    prose = "".join(paragraph(f"Line {number} of a table of {number * 7919 % 1000}") for number in range(40_000))
    found = facts(samples.docx(prose))
    assert found.problem is None
    assert found.text
    assert found.text[-1].text.endswith(f"Line 39999 of a table of {39_999 * 7919 % 1000}")


def test_many_entries_and_a_huge_directory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "MAX_ENTRIES", 10)
    many = samples.docx(paragraph("x"), entries=[(f"word/{number}", b"") for number in range(10)])
    assert facts(many).problem == Problem.DOCX_TOO_LARGE
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**31, 0, 0)
    assert facts(b"PK\3\4" + end).problem == Problem.DOCX_TOO_LARGE


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x"> %p;]>',
    ],
)
def test_entities_and_dtds_are_refused(prolog: str) -> None:
    assert facts(samples.docx(paragraph("&b;"), prolog=prolog)).problem == Problem.DOCX_UNREADABLE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4",
        samples.zipped([("word/other.xml", b"x")]),
        samples.zipped([("word/document.xml", b"<not closed")]),
        samples.docx(paragraph("x"))[:-30],
        samples.docx("<w:p>" * 10),
    ],
)
def test_what_is_no_document_is_unreadable(data: bytes) -> None:
    assert facts(data) == Facts(DOCX, problem=Problem.DOCX_UNREADABLE)


def test_deep_nesting_does_no_harm() -> None:
    assert facts(samples.docx("<w:x>" * 100_000 + "</w:x>" * 100_000)).text == []


def test_names_with_path_tricks_are_only_names() -> None:
    tricks = [("../../../etc/passwd", b"x"), ("/word/document.xml", b"<x/>"), ("word/../word/document.xml", b"<x/>")]
    assert [page.text for page in facts(samples.docx(paragraph("real"), entries=tricks)).text or ()] == ["real"]


def test_pages_and_text_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "MAX_PAGES", 2)
    found = facts(samples.docx(BREAK.join(paragraph(f"page {number}") for number in range(4))))
    assert (found.pages, found.text and len(found.text), found.problem) == (4, 2, Problem.TEXT_TOO_LONG)
    monkeypatch.setattr(docx, "MAX_CHARACTERS", 1000)
    found = facts(samples.docx(paragraph("word " * 10) * 20_000))
    assert found.problem == Problem.TEXT_TOO_LONG
