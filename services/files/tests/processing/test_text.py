# ruff: noqa: RUF001 - texts in other scripts
"""Texts: charsets, control characters, sections."""

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.processing import pages, text
from files.processing.facts import Facts, Page, Problem
from files.processing.pages import SECTION_CHARACTERS, collect, sections
from files.processing.tokens import count_tokens

GERMAN = "Die Größe der Änderung überrascht; schöne Grüße aus Köln, Übermut tut selten gut. " * 20
RUSSIAN = "Сегодня хорошая погода, и мы пойдём гулять в парк вместе с друзьями. " * 20
POLISH = "Zażółć gęślą jaźń, pójdźmy w góry: świeże powietrze służy człowiekowi każdego dnia. " * 20
JAPANESE = "これは日本語の文章です。今日は天気がいいですね。明日も晴れるでしょう。" * 20
CHINESE = "今天天气很好，我们一起去公园散步吧。明天也会是晴天。" * 20


def facts(data: bytes, media_type: str = "text/plain") -> Facts:
    return text.text_facts(io.BytesIO(data), media_type)


def test_a_short_text_is_one_section() -> None:
    assert facts(b"# Title\r\n\r\nText") == Facts(
        "text/plain",
        text=[Page(1, "# Title\n\nText", count_tokens("# Title\n\nText"))],
        tokens=count_tokens("# Title\n\nText"),
    )


def test_rows_of_a_table_stay_as_they_are() -> None:
    found = facts('name;"say ""hi"""\nÄ;1,5\n'.encode("cp1252"), "text/csv")
    assert found.text is not None
    assert found.text[0].text == 'name;"say ""hi"""\nÄ;1,5'


@pytest.mark.parametrize(
    ("written", "charset"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (POLISH, "cp1250"),
        (JAPANESE, "shift-jis"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16"),
    ],
)
def test_the_charset_is_found(written: str, charset: str) -> None:
    assert text.decode(written.encode(charset)) == written


def test_a_stated_charset_is_used_if_it_is_one() -> None:
    data = "Grüße, š".encode("cp1250")
    assert text.decode(data, "windows-1250") == "Grüße, š"
    for stated in ("zip_codec", "idna", "nonsense", "\0", "utf-8", ""):
        assert "Gr" in text.decode(data, stated)


@given(st.binary(max_size=200))
def test_any_bytes_become_text(data: bytes) -> None:
    cleaned = text.clean(text.decode(data))
    assert not set(cleaned) & {chr(code) for code in range(32) if chr(code) not in "\n\t"}
    cleaned.encode()


def test_guessing_a_charset_is_bounded() -> None:
    started = time.perf_counter()
    text.decode(bytes(range(128, 256)) * 100_000)
    assert time.perf_counter() - started < 2


def test_a_text_longer_than_is_kept_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_BYTES", 5)
    found = facts("abcdé".encode())
    assert (found.text and found.text[0].text, found.problem) == ("abcd", Problem.TEXT_TOO_LONG)
    assert facts(b"abcde").problem is None
    monkeypatch.setattr(pages, "MAX_CHARACTERS", 3)
    found = facts(b"abcd")
    assert (found.text and found.text[0].text, found.problem) == ("abc", Problem.TEXT_TOO_LONG)


def test_a_blank_text_has_no_page() -> None:
    assert facts(b" \n\n ") == Facts("text/plain", text=[], tokens=0)


@given(st.text(alphabet="ab# \n", max_size=300).map(lambda some: some * 200))
def test_sections_are_the_text_and_no_longer_than_allowed(whole: str) -> None:
    cut = list(sections(whole))
    assert "".join(cut) == whole
    assert max(map(len, cut)) <= SECTION_CHARACTERS


def test_sections_are_cut_where_it_hurts_least() -> None:
    filler = "word " * 600
    headed = f"{filler}\n\n# One\n{filler}\n\n## Two\n{filler}"
    assert [part[:5] for part in sections(headed)] == ["word ", "## Tw"]
    blank = f"{filler}\n{filler}\n\n{filler}"
    assert next(iter(sections(blank))).endswith("\n\n")
    lines = f"{filler}\n{filler}\n{filler}"
    assert next(iter(sections(lines))) == f"{filler}\n{filler}\n"
    assert [len(part) for part in sections("x" * 20_000)] == [8000, 8000, 4000]


def test_pages_keep_their_number() -> None:
    found = collect(["", "a b", " \n", "c"])
    assert [(page.number, page.text) for page in found.pages] == [(2, "a b"), (4, "c")]
    assert found.tokens == count_tokens("a b") + count_tokens("c")
