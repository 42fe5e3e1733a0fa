"""PDF: pages, their text, the first one's picture."""

import io

import pytest
from PIL import Image

from files.processing import pages, pdf
from files.processing.facts import Facts, Page, Problem
from files.processing.tokens import count_tokens

from . import samples


def facts(data: bytes) -> Facts:
    return pdf.pdf_facts(io.BytesIO(data), "application/pdf")


def test_text_page_by_page() -> None:
    found = facts(samples.pdf(["First page\nsecond line", "", "Grüße (von) Seite 3"]))
    assert (found.pages, found.problem) == (3, None)
    assert found.text == [
        Page(1, "First page\nsecond line", count_tokens("First page\nsecond line")),
        Page(3, "Grüße (von) Seite 3", count_tokens("Grüße (von) Seite 3")),
    ]
    assert found.tokens == sum(page.tokens for page in found.text)


def test_a_word_divided_at_a_line_end_is_whole() -> None:
    found = facts(samples.pdf(["an exam-\nple of it"]))
    assert found.text is not None
    assert "example" in found.text[0].text.replace("\n", "")


def test_a_picture_of_the_first_page() -> None:
    found = facts(samples.pdf(["x"] * 2))
    sizes = {pixels: Image.open(io.BytesIO(data)).size for pixels, data in found.thumbnails.items()}
    assert sizes == {256: (181, 256), 1024: (724, 1024)}
    darkest, lightest = Image.open(io.BytesIO(found.thumbnails[1024])).convert("L").getextrema()
    assert darkest < 100
    assert lightest > 240


@pytest.mark.parametrize("size", [(14_400, 14_400), (1, 1), (3, 14_400)])
def test_pages_of_odd_sizes_have_small_pictures(size: tuple[int, int]) -> None:
    for data in facts(samples.pdf(["x"], size=size)).thumbnails.values():
        assert max(Image.open(io.BytesIO(data)).size) <= 1024


def test_a_password_is_asked_for() -> None:
    assert facts(samples.pdf(["secret"], password="x")) == Facts("application/pdf", problem=Problem.PDF_ENCRYPTED)


def test_an_empty_password_opens() -> None:
    found = facts(samples.pdf(["not secret"], password=""))
    assert found.text is not None
    assert found.text[0].text == "not secret"


@pytest.mark.parametrize("data", [b"%PDF-1.4\n", b"%PDF-1.4\n<html>", b"", samples.pdf(["x"])[:40]])
def test_what_is_no_pdf_is_unreadable(data: bytes) -> None:
    assert facts(data) == Facts("application/pdf", problem=Problem.PDF_UNREADABLE)


def test_pages_and_text_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 3)
    found = facts(samples.pdf([f"page {number}" for number in range(5)]))
    assert (found.pages, found.text and len(found.text), found.problem) == (5, 3, Problem.TEXT_TOO_LONG)
    monkeypatch.setattr(pages, "MAX_CHARACTERS", 10)
    found = facts(samples.pdf(["page 1", "page 2", "page 3"]))
    assert found.text is not None
    assert ([page.text for page in found.text], found.problem) == (["page 1", "page"], Problem.TEXT_TOO_LONG)


def test_a_pdf_after_something_else_is_read_from_where_it_begins() -> None:
    found = facts(samples.pdf(["x"]).replace(b"%PDF-1.4\n", b"%PDF-1.4\n%" + b"PK\3\4" * 100 + b"\n"))
    assert found.pages == 1
