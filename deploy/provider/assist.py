"""Answers to the prompts of ai-proxy's /assist: small edits of the text, quotations from what was handed along."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploy.provider.prompt import Prompt
from deploy.provider.quoting import Source, quoted, sentences

FENCE = re.compile(r"between <(data-[\w-]+)")
QUESTION = re.compile(r"^Question of the user: (.+)", re.MULTILINE | re.DOTALL)
LANGUAGE = re.compile(r"^Translate the text into ([^.\n]*)")
NO_PROSE = re.compile(r"\s*(?:#|\||```|~~~|---|===|\$\$|<|!?\[|$)")
NOTHING = "The texts do not say it."
MOST_HUNKS = 20
MISTAKES = {
    r"\bteh\b": "the", r"\brecieve": "receive", r"\bseperate": "separate", r"\bdefinately\b": "definitely",
    r"\boccured\b": "occurred", r"\buntill\b": "until", r"\bwich\b": "which", r"\bi\b(?=[ '])": "I",
    r"\b(\w+) \1\b": r"\1", r" +([,.;!?])": r"\1",
}  # fmt: skip
CLUMSY = {
    r"\bin order to\b": "to", r"\bvery good\b": "excellent", r"\bvery big\b": "huge", r"\ba lot of\b": "many",
    r"\butili[sz]e\b": "use", r"\bdue to the fact that\b": "because", r"\bat this point in time\b": "now",
    r"\bis able to\b": "can", r"\breally \b": "",
}  # fmt: skip
MARK = " (Improved.)"


@dataclass(frozen=True)
class _Given:
    """What the prompt hands along, and what is to be done with it."""

    document: str | None
    selection: str | None
    sources: Sequence[Source]
    task: str

    @property
    def text(self) -> str:
        """What is to be worked on."""
        return self.selection if self.selection is not None else self.document or ""


def assisted(prompt: Prompt) -> str | None:
    """The answer; None if the prompt is none of /assist."""
    fence = next((found[1] for turn in prompt.turns if (found := FENCE.search(turn.text))), None)
    if fence is None:
        return None
    given = _read(prompt.last.text, fence)
    if given.task.startswith("Answer the question"):
        question = QUESTION.search(given.task)
        return quoted(question[1] if question else "", given.sources) or NOTHING
    if given.task.startswith("Continue"):
        return f"\n\nThe development provider goes on: {_last(given.text)}"
    if given.task.startswith("Summarize"):
        return _first(given.text)
    edit = _edit(given)
    return _hunks(given.document or "", edit) if "<<< FIND" in given.task else "\n".join(_lines(given.text, edit))


def _read(text: str, fence: str) -> _Given:
    block = re.compile(rf'<{fence} kind="(\w+)"(?: mark="([^"]*)")?[^>]*>\n(.*?)\n</{fence}>', re.DOTALL)
    blocks = block.findall(text)
    of_kind = {kind: body for kind, _, body in blocks}
    sources = [Source(body, mark or None) for _, mark, body in blocks]
    return _Given(
        of_kind.get("document"), of_kind.get("selection"), sources, block.sub("", text).partition("Task: ")[2]
    )


def _edit(given: _Given) -> Callable[[str], str]:
    """What happens to a line of prose."""
    task = given.task
    if task.startswith("Correct"):
        return lambda line: _replaced(line, MISTAKES)
    if task.startswith("Shorten"):
        return lambda line: _first(line) or line
    if task.startswith("Expand"):
        return lambda line: f"{line} In other words: {_first(line)}"
    if language := LANGUAGE.match(task):
        return lambda line: f"[{language[1]}] {line}"
    return _improving(given.text)


def _improving(text: str) -> Callable[[str], str]:
    """Better words; where there are none to be had, a mark behind the first line of prose, so that there is an edit."""
    if any(_replaced(line, CLUMSY) != line for line in text.split("\n")):
        return lambda line: _replaced(line, CLUMSY)
    first = next((line for line in text.split("\n") if not NO_PROSE.match(line) and text.count(line) == 1), None)
    return lambda line: line + MARK if line == first else line


def _replaced(line: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        line = re.sub(old, new, line)
    return line


def _lines(text: str, edit: Callable[[str], str]) -> Iterator[str]:
    for line in text.split("\n"):
        yield line if NO_PROSE.match(line) else edit(line)


def _hunks(document: str, edit: Callable[[str], str]) -> str:
    """Changed lines as the template asks for them: those that occur once."""
    pairs = zip(document.split("\n"), _lines(document, edit), strict=True)
    changed = [(old, new) for old, new in pairs if old != new and document.count(old) == 1]
    return "\n".join(
        f"<<<<<<< FIND\n{old}\n=======\n{new}\n>>>>>>> REPLACE" for old, new in changed[:MOST_HUNKS]
    )  # fmt: skip


def _first(text: str) -> str:
    return next((sentence.text for sentence in sentences(Source(text))), "")


def _last(text: str) -> str:
    return [sentence.text for sentence in sentences(Source(text))][-1:][0] if text.strip() else ""
