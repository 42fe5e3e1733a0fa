"""Merge a few lines of prose word by word."""

import re
from collections import Counter
from itertools import islice

from .lines import Conversion, Span, settled
from .matching import Budget, Change, changes
from .pairing import Rules, regions

CAP = 4_000
"""Tokens up to which lines are merged by words."""

_STEPS_PER_CALL = 200
_LINE = "\n"

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = (
    r"\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f"
    r"\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\U000e0100-\U000e01ef"
)
_LETTER = rf"[^\s!-/:-@\[-`{{-~\u2010-\u2027\u2030-\u205e\u3000-\u303f\uff00-\uffef{_CJK}]"
_TOKEN = re.compile(
    r"\s+"
    r"|(`+)(?!`).{1,300}?(?<!`)\1(?!`)"  # a code span
    r"|(?<=\]\()[^\s()]+"  # where a link goes
    r"|<[^\s<>]+>"
    rf"|[{_CJK}][{_MARKS}]*"
    rf"|{_LETTER}+(?:[-./:@_'\u2019+=&%#?~,]{{1,3}}{_LETTER}+)*"  # word, don't, 1.5, 2024-05-01, https://a.org/b?c=d
    rf"|([^\s])\2*[{_MARKS}]*"
)
_LONE_CJK = re.compile(rf"[{_CJK}][{_MARKS}]*")


def merge_words(
    base: Span, ours: Span, theirs: Span, ours_turned: Conversion, theirs_turned: Conversion, budget: Budget
) -> Span | None:
    """Merge the words of three versions of some lines; None if both sides changed the same ones, or it is uncertain.

    A line end is a word of its own, and so are a run of spaces, a code span, a link's target, a CJK character; words
    joined by punctuation, such as numbers, dates and addresses, are one.
    """
    if budget.steps <= 0 or _doubles(base, ours) or _doubles(base, theirs):
        return None
    words, *sides = [_tokens(span) for span in (base, ours, theirs)]
    sizes = [len(tokens.texts) for tokens in (words, *sides)]
    budget.steps -= _STEPS_PER_CALL + sum(sizes) // 4
    if max(sizes) > CAP:
        return None
    shares = [Budget(budget.steps // 2) for _ in sides]
    found = [changes(words.texts, side.texts, share) for side, share in zip(sides, shares, strict=True)]
    budget.steps = sum(share.steps for share in shares)
    if any(_rewritten(words.texts, of_side) for of_side in found):
        return None
    joined = [_joined(words.texts, of_side) for of_side in found]
    rules = Rules(str.isspace, lambda start, end: _apart(words.texts, start, end), touch=False)
    merged = Span([], [])
    for region in regions(words.texts, (sides[0].texts, sides[1].texts), (joined[0], joined[1]), rules):
        before, left, right = (tokens.part(place) for tokens, place in zip((words, *sides), region.places, strict=True))
        piece = settled(before, left, right, ours_turned, theirs_turned)
        if piece is None:
            return None
        merged.texts.extend(piece.texts)
        merged.ends.extend(piece.ends)
    return _lines(merged) if merged.texts[-1:] == [_LINE] else None


def _tokens(span: Span) -> Span:
    """Split lines into words, at most one more than the cap."""
    texts: list[str] = []
    ends: list[str] = []
    for text, end in zip(*span, strict=True):
        found = islice(_TOKEN.finditer(text), CAP + 1 - len(texts))
        texts += [match[0] for match in found]
        texts.append(_LINE)
        ends += [""] * (len(texts) - len(ends) - 1)
        ends.append(end)
        if len(texts) > CAP:
            break
    return Span(texts, ends)


def _lines(tokens: Span) -> Span:
    """Put words together to lines again."""
    lines = Span([], [])
    words: list[str] = []
    for text, end in zip(*tokens, strict=True):
        if text == _LINE:
            lines.texts.append("".join(words))
            lines.ends.append(end)
            words.clear()
        else:
            words.append(text)
    return lines


def _doubles(base: Span, side: Span) -> bool:
    """Tell whether a side doubled a line: which of them is the old one is not to be known."""
    before, after = Counter(filter(str.strip, base.texts)), Counter(filter(str.strip, side.texts))
    return any(after[text] > count for text, count in before.items())


def _rewritten(words: list[str], found: list[Change]) -> bool:
    """Tell whether a side kept fewer than half of the words: then the rest is likely to be there by chance."""
    lost = sum(_is_word(word) for change in found for word in words[change.old_start : change.old_end])
    return 2 * lost > sum(map(_is_word, words))


def _joined(words: list[str], found: list[Change]) -> list[Change]:
    """Join changes of one side that have no word between them: what stands there was rewritten as one."""
    joined: list[Change] = []
    for change in found:
        if joined and not any(map(_is_word, words[joined[-1].old_end : change.old_start])):
            joined[-1] = joined[-1]._replace(old_end=change.old_end, new_end=change.new_end)
        else:
            joined.append(change)
    return joined


def _is_word(token: str) -> bool:
    return any(map(str.isalnum, token))


def _apart(words: list[str], start: int, end: int) -> bool:
    """Tell whether unchanged words keep two edits apart; one CJK character alone may be the middle of a word."""
    return end - start > 1 or (end > start and not _LONE_CJK.fullmatch(words[start]))
