"""Prompts of /assist: templates from files, and data kept apart from instructions by a mark nobody can foresee."""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final
from uuid import UUID

BYTES_A_TOKEN: Final = 3
"""Fewer than there are on average: what is cut to size fits."""
CITED: Final = re.compile(r"\[(?:F(\d{1,3}):|(?:page|p\.) ?)(\d{1,6})\]")
"""By a mark; or by the page alone, which is clear if there is but one file."""


class TooLongError(ValueError):
    """What has to be there as a whole does not fit."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a file that is handed along; `number` from 1."""

    context_file_id: UUID
    name: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to work with; `selection_start`: if it is known; `whole`: the document may not be cut."""

    document: str | None = None
    selection: str | None = None
    selection_start: int | None = None
    files: Sequence[Sequence[Page]] = ()
    whole: bool = False
    keep_end: bool = False
    """Whether of a document too long its end is kept, not its beginning."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told; `marks`: mark in the answer -> the page it stands for."""

    system: str
    user: str
    truncated: bool
    marks: dict[str, Page]


@cache
def template(name: str) -> str:
    """A prompt template, without its last line end."""
    return files(__package__).joinpath("prompts", f"{name}.md").read_text().rstrip("\n")


def tokens(text: str) -> int:
    """About as many as a text has, rather too many."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)


def compose(
    action: str,
    material: Material,
    *,
    instructions: str | None,
    language: str | None,
    hunks: bool,
    budget: int,
    mark: Callable[[], str] = lambda: f"data-{secrets.token_hex(8)}",
) -> Prompt:
    """A prompt whose texts have `budget` tokens at most. Raises `TooLongError`.

    The mark occurs in none of the texts, so none can end its own quotation.
    """
    texts = [material.document, material.selection, *(page.text for pages in material.files for page in pages)]
    fence = mark()
    while any(fence in text for text in texts if text):
        fence = mark()
    left = budget - tokens(material.selection or "")
    document, cut = _fitted(material, left)
    left -= tokens(document or "")
    pages, pages_cut = _pages(material.files, left)
    blocks = [_block(fence, "document", document)] if document is not None else []
    blocks += [_block(fence, "selection", material.selection)] if material.selection is not None else []
    marks = {}
    for label, page in pages:
        marks[label] = page
        kind = f'file" mark="{label}" name="{_attribute(page.name)}'
        blocks.append(_block(fence, kind, f"page {page.number}\n{page.text}"))
    task = [Template(template(action)).safe_substitute(language=language or "")]
    task += [_work_on(material)]
    task += [template("answer_hunks" if hunks else "answer_text")] if action != "ask" else []
    task += [template("cite")] if pages else []
    task += [f"{'Question' if action == 'ask' else 'Wishes'} of the user: {instructions}"] if instructions else []
    return Prompt(
        Template(template("system")).substitute(mark=fence),
        "\n\n".join([*blocks, "Task: " + "\n".join(task)]),
        cut or pages_cut,
        marks,
    )


def _work_on(material: Material) -> str:
    if material.selection is None:
        return "The text is the document." if material.document is not None else "There is no document."
    return "The text is the selection" + ("; the document shows what surrounds it." if material.document else ".")


def _block(fence: str, kind: str, text: str | None) -> str:
    return f'<{fence} kind="{kind}">\n{text}\n</{fence}>'


def _attribute(name: str) -> str:
    return re.sub(r'[<>"&\n\r]', " ", name)


def _fitted(material: Material, budget: int) -> tuple[str | None, bool]:
    document = material.document
    if budget < 0 or (material.whole and document is not None and tokens(document) > budget):
        raise TooLongError
    if document is None or tokens(document) <= budget:
        return document, False
    if material.selection and (at := _selected(material, document)) >= 0:  # what stands around it
        room = max(budget * BYTES_A_TOKEN // 2, 0)
        before, after = document[:at], document[at + len(material.selection) :]
        return _cut(before, room, keep_end=True) + material.selection + _cut(after, room, keep_end=False), True
    return _cut(document, budget * BYTES_A_TOKEN, keep_end=material.keep_end), True


def _selected(material: Material, document: str) -> int:
    start, selection = material.selection_start, material.selection or ""
    return start if start is not None and document.startswith(selection, start) else document.find(selection)


def _cut(text: str, most_bytes: int, *, keep_end: bool) -> str:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most_bytes:
        return text
    part = data[len(data) - most_bytes :] if keep_end else data[:most_bytes]
    return part.decode("utf-8", "ignore")


def _pages(given: Sequence[Sequence[Page]], budget: int) -> tuple[list[tuple[str, Page]], bool]:
    """Pages of each file from its first one, each file with its share of what is left; the last one may be cut."""
    found: list[tuple[str, Page]] = []
    cut = False
    for number, pages in enumerate(given, 1):
        share = budget // (len(given) - number + 1)
        for page in pages:
            if share <= 0:
                cut = True
                break
            text = _cut(page.text, share * BYTES_A_TOKEN, keep_end=False)
            cut = cut or text != page.text
            size = tokens(text)
            share -= size
            budget -= size
            found.append((f"F{number}:{page.number}", replace(page, text=text)))
    return found, cut


def citations(answer: str, marks: dict[str, Page]) -> list[dict[str, Any]]:
    """Pages an answer refers to, in the order it does; marks of pages it was not given are none."""
    only = len({page.context_file_id for page in marks.values()}) == 1
    cited = dict.fromkeys(f"F{file or '1'}:{page}" for file, page in CITED.findall(answer) if file or only)
    return [
        {"mark": mark, "context_file_id": page.context_file_id, "name": page.name, "page": page.number}
        for mark in cited
        if (page := marks.get(mark))
    ]
