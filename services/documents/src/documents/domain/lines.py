"""A document as lines: their texts, their ends, the byte order mark; nothing is lost and nothing normalised."""

from dataclasses import dataclass

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Lines:
    r"""Texts and ends, index by index. An end is `\n`, `\r\n` or lone `\r`, and "" only after an unterminated last line.

    These are CommonMark's line endings; form feeds, U+2028 and the like are text.
    """

    texts: list[str]
    ends: list[str]
    bom: str
    uniform: str | None
    """The only line end in use, "" if there is none at all, None if they are mixed."""

    @classmethod
    def of(cls, content: bytes) -> "Lines":
        """Split a document. Raises `UnicodeDecodeError`."""
        text = content.decode()
        bom = BOM if text.startswith(BOM) else ""
        text = text[len(bom) :]
        uniform = _uniform(text)
        if uniform is None:
            texts, ends = _split_mixed(text)
        else:
            texts = text.split(uniform) if uniform else [text]
            ends = [uniform] * (len(texts) - 1)
        if texts[-1]:
            ends.append("")
        else:
            texts.pop()
        return cls(texts, ends, bom, uniform)

    @property
    def terminated(self) -> bool:
        """Whether the last line has an end; an empty document lacks none."""
        return not self.ends or bool(self.ends[-1])

    def text(self, start: int, end: int) -> str:
        """Return lines `[start, end)` exactly as they stand in the document."""
        if start >= end:
            return ""
        if self.uniform is None:
            return joined(self.texts[start:end], self.ends[start:end])
        return self.uniform.join(self.texts[start:end]) + self.ends[end - 1]


def joined(texts: list[str], ends: list[str]) -> str:
    """Return lines as text."""
    return "".join([text + end for text, end in zip(texts, ends, strict=True)])


def count_ends(text: str) -> int:
    """Count the line ends of a text."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def last_end(text: str) -> str:
    """Return the end of the last line, "" if it is unterminated."""
    return text[-2:] if text.endswith("\r\n") else text[-1:] if text.endswith(("\n", "\r")) else ""


def any_end(text: str) -> str:
    """Return the last line end found anywhere in a text, "" if there is none."""
    at = max(text.rfind("\n"), text.rfind("\r"))
    return last_end(text[max(at - 1, 0) : at + 1]) if at >= 0 else ""


def merged_end(base: str, ours: str, theirs: str) -> str | None:
    """Merge the end of one line three ways; None if both sides changed it differently. A missing end is no opinion."""
    ours, theirs = ours or base or theirs, theirs or base or ours
    if ours == theirs or theirs == base:
        return ours
    return theirs if ours == base else None


def _uniform(text: str) -> str | None:
    feeds, returns = text.count("\n"), text.count("\r")
    if not returns:
        return "\n" if feeds else ""
    if not feeds:
        return "\r"
    return "\r\n" if text.count("\r\n") == feeds == returns else None


def _split_mixed(text: str) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    ends: list[str] = []
    *fed, rest = text.split("\n")
    for piece in fed:
        if "\r" in piece:
            *returned, last = piece.removesuffix("\r").split("\r")
            texts += [*returned, last]
            ends += ["\r"] * len(returned)
            ends.append("\r\n" if piece[-1] == "\r" else "\n")
        else:
            texts.append(piece)
            ends.append("\n")
    returned = rest.split("\r")
    return texts + returned, ends + ["\r"] * (len(returned) - 1)
