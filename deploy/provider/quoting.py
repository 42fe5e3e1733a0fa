"""The sentence that fits a question best, by the words they share, with the page it stands on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WORD = re.compile(r"\w{3,}")
SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
PAGE = re.compile(
    r"""<page\b[^>]*?\b(?:n|number|id)=["']?(\d+)[^>]*>|\[(?:page|p\.)\s*(\d+)\]|(?:^|\n)-*\s*page (\d+)\b""",
    re.IGNORECASE,
)
COMMON = frozenset(
    re.findall(
        r"\w+",
        "the and for are was were with that this what which who whom how why when where does did has have had from "
        "into about your you our its not can could should would will may there their they them than then also any all",
    )
)


@dataclass(frozen=True)
class Source:
    """A text to quote from; `mark` is how it is cited, without it by its page marks."""

    text: str
    mark: str | None = None


@dataclass(frozen=True)
class Sentence:
    """A sentence and how it is cited."""

    text: str
    mark: str | None


def quoted(question: str, sources: Sequence[Source]) -> str | None:
    """The sentence that shares most words with the question, with its mark; None if none shares any."""
    wanted = _words(question)
    best, most = None, 0
    for source in sources:
        for sentence in sentences(source):
            shared = 0 if "?" in sentence.text else len(wanted & _words(sentence.text))
            if shared > most:
                best, most = sentence, shared
    if best is None:
        return None
    return f"“{best.text}”" + (f" [{best.mark}]" if best.mark else "")


def sentences(source: Source) -> Iterator[Sentence]:
    """The sentences, each with the page mark last before it."""
    text, mark, at = source.text, source.mark, 0
    for page in [*PAGE.finditer(text), None]:
        for match in SENTENCE.finditer(text, at, page.start() if page else len(text)):
            if plain := " ".join(re.sub(r"<[^>]*>", " ", match[0]).split()).strip(" #>*-|"):
                yield Sentence(plain, mark)
        if page:
            at = page.end()
            mark = source.mark or f"page {next(filter(None, page.groups()))}"


def _words(text: str) -> set[str]:
    return {word for word in WORD.findall(text.lower()) if word not in COMMON}
