"""3-way merge: what it keeps, what it refuses, what it never does."""

import random
import re
import time
from collections import Counter
from importlib import import_module
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.domain import merge, merge_edits
from documents.domain.lines import Lines
from documents.domain.matching import Budget, changes

PROPERTY = settings(deadline=None, max_examples=250, database=None)
SECONDS = 2.0

# --- documents ------------------------------------------------------------------------------------------------------

ALPHABETS = (
    "ab \n",
    "ab \r\n",
    "a\r\n\ufeff",
    "ab\n`~|$-#> ",
    "a \n\u2028\x0c\x85\t",
    "e\u0301 \n\U0001f44d\U0001f3fd\u200d",
    "世界,。 \n",
)
LINES = (
    "alpha beta gamma",
    "alpha",
    "",
    "",
    "- [ ] todo",
    "- [ ] todo",
    "```",
    "| a | b |",
    "|---|---|",
    "---",
    "$$",
    "    x y",
)
ENDS = ("\n", "\n", "\n", "\r\n", "\r")
MARKS = ("", "", "", "\ufeff")


@st.composite
def texts(draw):
    """Raw characters, or plausible lines with one line end or several, with or without a mark and a final newline."""
    if draw(st.booleans()):
        return draw(st.text(draw(st.sampled_from(ALPHABETS)), max_size=30))
    ends = draw(st.sampled_from((("\n",), ("\r\n",), ENDS)))
    lines = draw(st.lists(st.sampled_from(LINES), max_size=10))
    body = "".join(line + draw(st.sampled_from(ends)) for line in lines)
    return draw(st.sampled_from(MARKS)) + (body if draw(st.booleans()) else body.rstrip("\r\n"))


@st.composite
def edited(draw, text):
    """The text after a few replaced slices, or with other line ends, or any other text."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(texts())
    if kind == 1:
        return re.sub(r"\r\n?|\n", draw(st.sampled_from(ENDS)), text)
    pieces = st.one_of(st.text(draw(st.sampled_from(ALPHABETS)), max_size=4), st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(pieces) + text[start + draw(st.integers(0, 4)) :]
    return text


@st.composite
def versions(draw):
    base = draw(texts())
    return tuple(text.encode() for text in (base, draw(edited(base)), draw(edited(base))))


def merged(base, ours, theirs):
    """Merge texts; None on conflict."""
    content = merge(base.encode(), ours.encode(), theirs.encode()).content
    return None if content is None else content.decode()


def conflicts(base, ours, theirs):
    """Both orders conflict."""
    return merged(base, ours, theirs) is None and merged(base, theirs, ours) is None


# --- laws -----------------------------------------------------------------------------------------------------------


@PROPERTY
@given(versions())
def test_a_side_equal_to_the_base_yields_the_other_side(documents):
    base, ours, _ = documents
    assert merge(base, ours, base).content == ours
    assert merge(base, base, ours).content == ours


@PROPERTY
@given(versions())
def test_equal_sides_yield_that_side(documents):
    base, ours, _ = documents
    assert merge(base, ours, ours).content == ours
    assert merge_edits(base, ours, ours).content == ours


@PROPERTY
@given(versions())
def test_the_order_of_the_sides_does_not_matter(documents):
    base, ours, theirs = documents
    there, back = merge(base, ours, theirs), merge(base, theirs, ours)
    assert there.content == back.content
    assert there.conflicts == back.conflicts


def test_the_order_does_not_matter_however_little_work_is_allowed():
    base = [f"w{number}" for number in range(40)]
    ours = ["x" if number % 3 == 0 and number < 30 else word for number, word in enumerate(base)]
    theirs = ["y" if number in {32, 35, 38} else word for number, word in enumerate(base)]
    texts = [" ".join(words) + "\n" for words in (base, ours, theirs)]
    outcomes = set()
    for steps in range(800):
        module = import_module("documents.domain.merge")
        with mock.patch.object(module, "Budget", side_effect=lambda steps=steps: Budget(steps)):
            outcome = merged(*texts)
            assert outcome == merged(texts[0], texts[2], texts[1])
            outcomes.add(outcome)
    assert len(outcomes) == 2


@PROPERTY
@given(versions(), st.integers(0, 60))
def test_the_order_does_not_matter_however_little_is_aligned(documents, steps):
    base, ours, theirs = documents
    module = import_module("documents.domain.merge")
    with mock.patch.object(module, "changes", lambda old, new: changes(old, new, Budget(steps))):
        assert merge(base, ours, theirs).content == merge(base, theirs, ours).content


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [("。世。", "。世", "世"), ("a b a b a", "a b a", "b a b a"), ("x x\nx x", "x\nx x", "x x\nx")],
    ids=["one CJK character between edits", "words that repeat", "lines that repeat"],
)
def test_the_order_does_not_matter_where_much_is_equal(base, ours, theirs):
    assert merged(base, ours, theirs) == merged(base, theirs, ours)


def is_mark(hunk):
    """Whether a hunk is about the byte order mark, which is on no line."""
    return hunk.base.lines == hunk.ours.lines == hunk.theirs.lines == 0


def spliced(base, hunks):
    """The base with the merged text of every hunk in place of its base slice."""
    lines = Lines.of(base)
    parts, at = [lines.bom], 0
    for hunk in hunks:
        if is_mark(hunk):
            parts = [hunk.merged]
            continue
        start = hunk.base.start - 1
        assert lines.text(slice(start, start + hunk.base.lines)) == hunk.base.text
        parts += [lines.text(slice(at, start)), hunk.merged]
        at = start + hunk.base.lines
    return "".join([*parts, lines.text(slice(at, len(lines)))]).encode()


@PROPERTY
@given(versions(), st.sampled_from((merge, merge_edits)))
def test_hunks_turn_the_base_into_the_content(documents, merging):
    outcome = merging(*documents)
    assert (outcome.content is None) == (outcome.conflicts > 0) == any(hunk.merged is None for hunk in outcome.hunks)
    if outcome.content is not None:
        assert spliced(documents[0], outcome.hunks) == outcome.content


@PROPERTY
@given(versions())
def test_hunks_show_what_each_version_holds(documents):
    for hunk in merge(*documents).hunks:
        for part, document in zip((hunk.base, hunk.ours, hunk.theirs), documents, strict=True):
            lines, start = Lines.of(document), part.start - 1
            assert part.text == (lines.bom if is_mark(hunk) else lines.text(slice(start, start + part.lines)))


@PROPERTY
@given(versions())
def test_no_word_and_no_line_end_appears_that_nobody_wrote(documents):
    base, ours, theirs = (document.decode() for document in documents)
    content = merged(base, ours, theirs)
    if content is not None:
        words = re.compile(r"[^\W_]+")
        assert {*words.findall(content)} <= {*words.findall(ours), *words.findall(theirs)}
        ends = re.compile(r"\r\n?|\n")
        assert {*ends.findall(content)} <= {*ends.findall(base), *ends.findall(ours), *ends.findall(theirs)} or (
            ours.count("\n") + ours.count("\r") + theirs.count("\n") + theirs.count("\r") == 0
        )


WORD_COUNT = 24


@st.composite
def word_edits(draw):
    """A base of distinct words in lines and paragraphs, and two sets of deletions, replacements and insertions."""
    breaks = st.sampled_from((" ", " ", " ", "\n", "\n\n", "\n- "))
    separators = draw(st.lists(breaks, min_size=WORD_COUNT, max_size=WORD_COUNT))
    sides = []
    for side in "xy":
        words = [f"word{number}" for number in range(WORD_COUNT)]
        kept = list(words)
        for place in draw(st.lists(st.integers(0, WORD_COUNT - 1), max_size=3, unique=True)):
            kind = draw(st.sampled_from(("delete", "replace", "before", "after", "line")))
            new = f"{side}{place}"
            kept[place] = {
                "delete": "",
                "replace": new,
                "before": f"{new} {words[place]}",
                "after": f"{words[place]} {new}",
                "line": f"{words[place]}\n{new}\n",
            }[kind]
        sides.append("".join(word + separator for word, separator in zip(kept, separators, strict=True)))
    base = "".join(f"word{number}{separator}" for number, separator in enumerate(separators))
    return base, *sides


@PROPERTY
@given(word_edits())
def test_inserted_words_survive_and_deleted_words_are_gone_or_it_is_a_conflict(documents):
    base, ours, theirs = documents
    content = merged(base, ours, theirs)
    if content is not None:
        before, left, right, after = (Counter(re.findall(r"\w+", text)) for text in (base, ours, theirs, content))
        for word in before | left | right:
            assert after[word] == (right if left[word] == before[word] else left)[word], word


@PROPERTY
@given(
    st.integers(1, 6),
    st.data(),
    st.sampled_from(("\n", "\n\n")),
    st.sampled_from(("b{}", "NEW b{}", "b{} NEW", "NEW")),
    st.sets(st.integers(0, 5)),
    st.sets(st.integers(0, 5)),
)
def test_a_line_deleted_by_one_side_and_edited_by_the_other_is_a_conflict(size, data, gap, change, ours, theirs):
    lines = [f"a{number} b{number} c{number}" for number in range(size)]
    place = data.draw(st.integers(0, size - 1))
    edits = [line.replace(f"a{number}", "x") if number in ours else line for number, line in enumerate(lines)]
    edits[place] = lines[place].replace(f"b{place}", change.format(place)) + "!"
    rest = [line.replace(f"c{number}", "y") if number in theirs else line for number, line in enumerate(lines)]
    del rest[place]
    assert conflicts(*(gap.join([*version, "end"]) for version in (lines, edits, rest)))


# --- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n"),
        ("a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n", "A\nB\nc\n"),
        ("a\nb\nc\n", "b\nc\n", "a\nB\nc\n", "B\nc\n"),
        ("a\nb\nc\n", "a\nx\nb\nc\n", "a\nB\nc\n", "a\nx\nB\nc\n"),
        ("a\nb\nc\n", "a\nb\nx\nc\n", "a\nB\nc\n", "a\nB\nx\nc\n"),
        ("a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\nd\n", "a\nX\nc\nd\n"),
        ("p\n\nq\n\nr\n", "p\n\nnew\n\nq\n\nr\n", "p\n\nQ\n\nr\n", "p\n\nnew\n\nQ\n\nr\n"),
        ("p\n\nq\n\nr\n", "p\n\nnew\n\nq\n\nr\n", "P\n\nq\n\nr\n", "P\n\nnew\n\nq\n\nr\n"),
        ("p\n\nq\n\nr\n", "p\n\nnew\n\nq\n\nr\n", "p\n\nr\n", "p\n\nnew\n\nr\n"),
        ("p\n\nq\n\nr\n", "p\n\nx\n\nq\n\nr\n", "p\n\nq\n\ny\n\nr\n", "p\n\nx\n\nq\n\ny\n\nr\n"),
    ],
    ids=[
        "apart",
        "adjacent edits",
        "deletion beside an edit",
        "insertion before an edit",
        "insertion after an edit",
        "the same edit",
        "paragraph before an edited one",
        "paragraph after an edited one",
        "paragraph before a deleted one",
        "two paragraphs around a third",
    ],
)
def test_lines_changed_by_one_side_each_are_merged(base, ours, theirs, result):
    assert merged(base, ours, theirs) == result
    assert merged(base, theirs, ours) == result


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n"),
        ("a\nb\nc\n", "a\nc\n", "a\nb!\nc\n"),
        ("a\nb\n", "a\nx\nb\n", "a\ny\nb\n"),
        ("a\n", "a\nx\n", "a\ny\n"),
        ("p\n\nq\n", "p\n\nx\n\nq\n", "p\n\ny\n\nq\n"),
        ("```\nb\nc\n```\n", "```\nb1\nb2\nc\n```\n", "```\nb\nc1\nc2\n```\n"),
        ("", "x", "y"),
    ],
    ids=[
        "one line",
        "deletion and edit",
        "one point",
        "the end",
        "paragraphs at one point",
        "both grow in code",
        "nothing",
    ],
)
def test_overlapping_lines_are_a_conflict(base, ours, theirs):
    assert conflicts(base, ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("t\n- x\n- x\n- x\nend\n", "t\n- x\n- y\nend\n"),
        ("t\n- x\nend\n", "t\n- y\n- x\nend\n"),
        ("t\n- x\n- x\n- x\nend\n", "t\n- x\n- new\n- x\nend\n"),
    ],
    ids=["added and edited", "deleted and edited", "added and inserted"],
)
def test_which_of_equal_lines_was_meant_is_not_guessed(ours, theirs):
    assert conflicts("t\n- x\n- x\nend\n", ours, theirs)


def test_a_doubled_line_and_an_edit_of_it_are_a_conflict():
    base = "start\ncheck the alpha server\nend\n"
    doubled = "start\nwrote a report\ncheck the alpha server\ncheck the alpha server\nend\n"
    assert conflicts(base, doubled, base.replace("alpha", "beta"))


# --- line ends, final newline, byte order mark -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ("a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nB\r\nc\r\n", "a\nB\nc\n"),
        ("a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nx\r\ny\r\nb\r\nc\r\n", "a\nx\ny\nb\nc\n"),
        ("a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nB1\r\nB2\r\nc\r\n", "a\nB1\nB2\nc\n"),
        ("a\nb\nc\n", "a\r\nb\nc\n", "a\nb\nC\n", "a\r\nb\nC\n"),
        ("a\r\nb\nc\r\n", "a\r\nB\nc\r\n", "a\r\nb\nC\r\n", "a\r\nB\nC\r\n"),
        ("one two three\r\n", "ONE two three\n", "one two THREE\r\n", "ONE two THREE\n"),
        ("a\r\nb\r\n", "a\nx\nb\n", "a\r\nx\r\nb\r\n", "a\nx\nb\n"),
        ("a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nc\r\n", "a\nc\n"),
        ("a\rb\rc\r", "A\rb\rc\r", "a\rb\rC\r", "A\rb\rC\r"),
        ("a\nb\nc\n", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\r\nb\r\nc\r\n"),
        ("a\r\nb\nc\n", "a\r\nX\nc\n", "a\r\nX\r\nc\n", "a\r\nX\r\nc\n"),
    ],
    ids=[
        "converted, line edited",
        "converted, lines added",
        "converted, line split",
        "one end changed",
        "mixed ends kept",
        "converted, words merged",
        "same line added with both ends",
        "converted, line deleted",
        "lone carriage returns",
        "converted",
        "same edit with another end",
    ],
)
def test_line_ends_are_merged_apart_from_their_lines(base, ours, theirs, result):
    assert merged(base, ours, theirs) == result
    assert merged(base, theirs, ours) == result


def test_line_ends_changed_differently_are_a_conflict():
    assert conflicts("a\nb\n", "a\r\nb\r\n", "a\rb\r")


def test_line_ends_that_would_fuse_are_a_conflict():
    assert conflicts("a\nx\n\nb\n", "a\rx\n\nb\n", "a\n\nb\n")


@pytest.mark.parametrize("text", ["a\u2028b c", "a\x0cb c", "a\x85b c", "a\x1eb c", "a\u2029b c", "a\vb c"])
def test_only_line_ends_end_lines(text):
    hunk = merge(f"{text}\n".encode(), f"{text}!\n".encode(), f"{text}\n".encode()).hunks[0]
    assert (hunk.base.lines, hunk.ours.lines, hunk.theirs.lines) == (1, 1, 1)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ("a\nb\n", "a\nb", "A\nb\n", "A\nb"),
        ("a\nb", "a\nb\n", "A\nb", "A\nb\n"),
        ("a\nb", "a\nB", "A\nb", "A\nB"),
        ("a", "a\nb", "A", "A\nb"),
        ("a\nb\n", "a\nb", "a\nb\nc\n", "a\nb\nc"),
        ("a\nb\n", "a\nb", "a\n", "a"),
        ("a\nb\n", "a\nb", "a\nB\nC\n", "a\nB\nC"),
        ("a\r\nb", "a\r\nb\r\nc", "A\r\nb", "A\r\nb\r\nc"),
        ("a\nb", "a\n", "a\nb\n", "a\n"),
        ("a", "a\n", "a\nb", "a\nb\n"),
        ("a\nb\n\n", "a\nb", "A\nb\n\n", "A\nb"),
    ],
)
def test_the_final_newline_is_merged_as_a_token(base, ours, theirs, result):
    assert merged(base, ours, theirs) == result
    assert merged(base, theirs, ours) == result


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ("\ufeffa\nb\n", "a\nb\n", "\ufeffA\nb\n", "A\nb\n"),
        ("a\nb\n", "\ufeffa\nb\n", "a\nB\n", "\ufeffa\nB\n"),
        ("\ufeffa\nb\n", "\ufeffa\nB\n", "\ufeffA\nb\n", "\ufeffA\nB\n"),
        ("\ufeffa\n", "a\n", "\ufeffnew\na\n", "new\na\n"),
        ("a \ufeffb c d\n", "A \ufeffb c d\n", "a \ufeffb c D\n", "A \ufeffb c D\n"),
    ],
    ids=["removed", "added", "kept", "removed and prepended", "inside is text"],
)
def test_the_byte_order_mark_is_merged_as_a_token(base, ours, theirs, result):
    assert merged(base, ours, theirs) == result


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(UnicodeDecodeError):
        merge(b"a", b"\xff", b"b")


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ("the cat sat on the mat", "the dog sat on the mat", "the cat sat on the rug", "the dog sat on the rug"),
        ("one two three", "ONE two three", "one TWO three", "ONE TWO three"),
        ("one two three four", "two three four", "one two three 4", "two three 4"),
        ("- [ ] buy milk", "- [x] buy milk", "- [ ] buy oat milk", "- [x] buy oat milk"),
        ("call Bob today", "# call Bob today", "call Bob now", "# call Bob now"),
        (
            "see [the docs](http://a.org/x) now",
            "see [the docs](http://a.org/y) now",
            "see [our docs](http://a.org/x) now",
            "see [our docs](http://a.org/y) now",
        ),
        ("run `make up` and wait", "run `make down` and wait", "run `make up` and see", "run `make down` and see"),
        (
            "caf\u00e9 e\u0301te\u0301 is here",
            "caf\u00e9 e\u0301te\u0301 was here",
            "th\u00e9 e\u0301te\u0301 is here",
            "th\u00e9 e\u0301te\u0301 was here",
        ),
        (
            "so good \U0001f44d\U0001f3fd ok then",
            "so bad \U0001f44d\U0001f3fd ok then",
            "so good \U0001f44d\U0001f3fd ok now",
            "so bad \U0001f44d\U0001f3fd ok now",
        ),
        ("我喜欢吃苹果和香蕉", "他喜欢吃苹果和香蕉", "我喜欢吃苹果和葡萄", "他喜欢吃苹果和葡萄"),
    ],
    ids=["far", "neighbours", "deletion", "checkbox", "heading", "link", "code span", "combining", "emoji", "chinese"],
)
def test_different_words_of_one_line_are_merged(base, ours, theirs, result):
    assert merged(f"{base}\n", f"{ours}\n", f"{theirs}\n") == f"{result}\n"
    assert merged(f"{base}\n", f"{theirs}\n", f"{ours}\n") == f"{result}\n"


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("the cat sat here", "the dog sat here", "the cow sat here"),
        ("the cat sat here", "the big cat sat here", "the old cat sat here"),
        ("he saw the cat.", "he saw the dog.", "he saw the cat!"),
        ("pay 3.14 by noon", "pay 3.15 by noon", "pay 2.14 by noon"),
        ("due 2024-05-01 at noon", "due 2025-05-01 at noon", "due 2024-06-01 at noon"),
        ("see https://a.org/b/c for more", "see https://x.org/b/c for more", "see https://a.org/b/z for more"),
        ("run `make up now` and wait", "run `just up now` and wait", "run `make up later` and wait"),
        ("it don't matter", "it can't matter", "it don\u2019t matter"),
        ("去图书馆看书吧", "去地书馆看书吧", "去图书店看书吧"),
        ("a e\u0301 b c d", "a e b c d", "a o\u0301 b c d"),
        ("hi \U0001f44d\U0001f3fd there you", "hi \U0001f44d there you", "hi \U0001f44e\U0001f3fd there you"),
        ("we met at noon to plan a trip", "the dog is not to eat from a bowl", "we met at noon to quickly plan a trip"),
    ],
    ids=[
        "one word", "one point", "touching", "number", "date", "address", "code span", "apostrophe", "chinese word",
        "combining mark", "skin tone", "rewritten",
    ],
)  # fmt: skip
def test_the_same_words_changed_differently_are_a_conflict(base, ours, theirs):
    assert conflicts(f"{base}\n", f"{ours}\n", f"{theirs}\n")


def test_a_paragraph_wrapped_anew_takes_a_word_changed_in_it():
    base = "The quick brown fox jumps\nover the lazy dog and runs\naway from here.\n"
    wrapped = "The quick brown fox\njumps over the lazy dog\nand runs away from here.\n"
    assert merged(base, wrapped, base.replace("lazy", "sleepy")) == wrapped.replace("lazy", "sleepy")


def test_regions_of_too_many_words_are_a_conflict():
    few, many = "word " * 1_900, "word " * 2_100
    assert merged(f"a b {few}c\n", f"A b {few}c\n", f"a b {few}C\n") == f"A b {few}C\n"
    assert conflicts(f"a b {many}c\n", f"A b {many}c\n", f"a b {many}C\n")


# --- protected constructs -------------------------------------------------------------------------------------------

PROTECTED = {
    "backtick fence": "text\n\n```py\nalpha beta gamma\n```\n",
    "tilde fence": "text\n\n~~~\nalpha beta gamma\n~~~\n",
    "open fence": "text\n\n```\nalpha beta gamma\n",
    "fence with shorter fence inside": "````\n```\n````x\nalpha beta gamma\n````\n",
    "fence in a list": "- item\n\n  ```\n  alpha beta gamma\n  ```\n",
    "fence in a quote": "> ```\n> alpha beta gamma\n> ```\n",
    "indented code": "text\n\n    alpha beta gamma\n\ntext\n",
    "front matter": "---\ntitle: alpha beta gamma\n---\ntext\n",
    "front matter closed by dots": "---\ntitle: alpha beta gamma\n...\ntext\n",
    "table": "| h | i |\n|---|---|\n| alpha beta | gamma |\n",
    "table without outer pipes": "h | i\n--- | ---\nalpha beta | gamma\n",
    "table header": "alpha beta | gamma\n--- | ---\nx | y\n",
    "html block": "<div>\nalpha beta gamma\n</div>\n",
    "html comment": "text\n<!--\n\nalpha beta gamma\n-->\n",
    "math": "$$\nalpha beta gamma\n$$\n",
    "link definition": 'text [a]\n\n[a]: alpha "beta gamma"\n',
}


@pytest.mark.parametrize("text", PROTECTED.values(), ids=PROTECTED)
def test_words_are_never_merged_in_protected_constructs(text):
    assert conflicts(text, text.replace("alpha", "ALPHA"), text.replace("gamma", "GAMMA"))


@pytest.mark.parametrize("text", PROTECTED.values(), ids=PROTECTED)
def test_only_one_version_needs_to_be_protected(text):
    """The sides agree on everything but one word each, and only one of the three has the construct around them."""
    words = "alpha beta gamma"
    plain = f"intro\n\n{words}\n\noutro\n"
    line = next(line for line in text.split("\n") if "alpha" in line)
    special = plain.replace(
        f"{words}\n", text[: text.index(line)] + line.replace("alpha", "ALPHA") + text[text.index(line) + len(line) :]
    )
    if text.startswith("---"):
        special = special.removeprefix("intro\n\n")
    assert conflicts(plain, special, plain.replace("gamma", "GAMMA"))


@pytest.mark.parametrize(
    ("text", "ours", "theirs", "result"),
    [
        ("```\na b\nc d\n```\n", ("a b", "a x"), ("c d", "c y"), "```\na x\nc y\n```\n"),
        ("---\ntitle: x\ntags: y\n---\n", ("x", "z"), ("tags: y", "tags: w"), "---\ntitle: z\ntags: w\n---\n"),
        ("|a|b|\n|-|-|\n|1|2|\n|3|4|\n", ("2", "9"), ("3", "8"), "|a|b|\n|-|-|\n|1|9|\n|8|4|\n"),
    ],
    ids=["code", "front matter", "table"],
)
def test_whole_lines_are_merged_in_protected_constructs(text, ours, theirs, result):
    assert merged(text, text.replace(*ours), text.replace(*theirs)) == result


@pytest.mark.parametrize("name", [name for name in PROTECTED if name != "open fence"])
def test_prose_after_a_closed_construct_is_prose(name):
    base = f"{PROTECTED[name]}\n\none two three four\n"
    assert merged(base, base.replace("one", "ONE"), base.replace("four", "FOUR")) == (
        f"{PROTECTED[name]}\n\nONE two three FOUR\n"
    )


# --- appends and prepends -------------------------------------------------------------------------------------------

BLOCKS = st.lists(st.sampled_from(["- x", "- y", "word", "", "two words"]), min_size=1, max_size=4)


def block(lines):
    return "".join(f"{line}\n" for line in lines).encode()


@PROPERTY
@given(st.lists(st.sampled_from(["- x", "word", ""]), max_size=4), BLOCKS, BLOCKS)
def test_lines_both_sides_appended_stay_in_order_of_arrival(base, first, second):
    start, one, two = block(base), block(first), block(second)
    expected = start + one if one == two else start + one + two
    assert merge_edits(start, start + one, start + two).content == expected


@PROPERTY
@given(st.lists(st.sampled_from(["head", "body"]), min_size=1, max_size=4), BLOCKS, BLOCKS)
def test_of_lines_both_sides_prepended_the_later_are_on_top(base, first, second):
    end, one, two = block([*base, "last"]), block(first), block(second)
    expected = one + end if one == two else two + one + end
    assert merge_edits(end, one + end, two + end).content == expected


@pytest.mark.parametrize(
    ("base", "current", "proposed", "result"),
    [
        ("a", "a\nb", "a\nc", "a\nb\nc"),
        ("a\n", "a\nb", "a\nc", "a\nb\nc"),
        ("a\r\n", "a\r\nb", "a\r\nc\r\n", "a\r\nb\r\nc\r\n"),
        ("a\n", "a\nb\n", "a\nc", "a\nb\nc"),
        ("", "b", "c", "b\nc"),
        ("a\n", "a\nb\n", "c\na\n", "c\na\nb\n"),
        ("a\nm\nz\n", "a\nM\nz\nb\n", "A\nm\nz\nc\n", "A\nM\nz\nb\nc\n"),
        ("a\nm\nz\n", "b\na\nM\nz\n", "c\na\nm\nZ\n", "c\nb\na\nM\nZ\n"),
        ("\ufeffa\n", "\ufeffb\na\n", "\ufeffc\na\n", "\ufeffc\nb\na\n"),
    ],
    ids=[
        "unterminated base", "unterminated additions", "its line ends", "no final newline", "empty base",
        "one end each", "besides other edits", "prepends besides other edits", "after the mark",
    ],
)  # fmt: skip
def test_additions_at_the_edges_are_kept(base, current, proposed, result):
    assert merge_edits(base.encode(), current.encode(), proposed.encode()).content == result.encode()


@pytest.mark.parametrize(
    ("base", "current", "proposed"),
    [
        ("a", "ab", "ac"),
        ("a", "a b", "a c"),
        ("a\n", "a\n```\nb\n", "a\nc\n"),
        ("a\n", "x\na\n", "---\ntitle: y\n---\na\n"),
        ("a\nb\n", "a\nx\nb\n", "a\ny\nb\n"),
    ],
    ids=["glued words", "one line continued twice", "open fence", "front matter", "not at an edge"],
)
def test_additions_that_would_change_each_other_are_a_conflict(base, current, proposed):
    assert merge_edits(base.encode(), current.encode(), proposed.encode()).content is None


def test_fifty_saves_on_one_base_all_survive():
    base = b"# log\n\nstart\n\nentries\n"
    current = base
    for number in range(50):
        proposed = base + b"entry %d\n" % number
        current = merge_edits(base, current, proposed.replace(b"start", b"began") if number == 20 else proposed).content
    assert current == base.replace(b"start", b"began") + b"".join(b"entry %d\n" % number for number in range(50))


# --- preview --------------------------------------------------------------------------------------------------------


def test_a_conflict_shows_all_three_versions_and_what_else_is_merged():
    outcome = merge(b"# T\n\none\ntwo\n\nend\n", b"# Title\n\none\n2\n\nend\n", b"# T\n\none\ndos\n\nend\nmore\n")
    title, clash, tail = outcome.hunks
    assert outcome.content is None
    assert outcome.conflicts == 1
    assert (title.merged, clash.merged, tail.merged) == ("# Title\n", None, "more\n")
    assert clash.conflict
    assert not title.conflict
    assert (clash.base.start, clash.base.lines, clash.base.text) == (4, 1, "two\n")
    assert (clash.ours.text, clash.theirs.text) == ("2\n", "dos\n")
    assert (tail.base.start, tail.base.lines, tail.theirs.start, tail.theirs.lines) == (7, 0, 7, 1)


def test_a_merge_without_changes_has_no_hunks(monkeypatch):
    assert merge(b"a\n", b"a\n", b"a\n").hunks == ()
    monkeypatch.setattr(import_module("documents.domain.merge"), "MAX_LINES", 0)
    assert merge(b"a\n", b"a\n", b"a\n").hunks == ()


# --- bounds ---------------------------------------------------------------------------------------------------------


def hostile():
    some = random.Random(1)
    ten, two = 10_000_000, 1_800_000
    words = [b"w%d" % some.randrange(30) for _ in range(1_900)]
    prose = b"".join(b"w%d foo bar baz\n\n" % number for number in range(50_000))

    def varied(count):
        return b" ".join(b"e" if some.randrange(1_900) < count else word for word in words)

    return {
        "10 MB of one line": (b"a\n" * (ten // 2), b"x\n" + b"a\n" * (ten // 2), b"a\n" * (ten // 2) + b"y\n"),
        "2 MB of one line": (b"a\n" * (two // 2), b"x\n" + b"a\n" * (two // 2), b"a\n" * (two // 2) + b"y\n"),
        "all blank": (b"\n" * (two // 2), b"x\n" + b"\n" * (two // 2), b"\n" * (two // 2) + b"y\n"),
        "alternating": (b"a\nb\n" * (two // 4), b"a\na\nb\n" * (two // 6), b"b\na\n" * (two // 4)),
        "mixed line ends": (b"a\r\nb\n" * (two // 5), b"a\nb\n" * (two // 5), b"a\r\nb\n" * (two // 5) + b"c"),
        "one line of 5 MB": (b"w " * 2_500_000, b"X " + b"w " * 2_500_000, b"w " * 2_500_000 + b"Y"),
        "one word of 5 MB": (b"a" * 5_000_000, b"b" + b"a" * 5_000_000, b"a" * 5_000_000 + b"c"),
        "backticks": (b"`" * 5_000_000, b"b" + b"`" * 5_000_000, b"`" * 5_000_000 + b"c"),
        "list marks": (b"* " * 1_000_000 + b"x", b"a" + b"* " * 1_000_000, b"* " * 1_000_000 + b"y"),
        "many words": (b" ".join(words), varied(400), varied(400)),
        "many such paragraphs": tuple(b"\n\n".join(varied(k) for _ in range(100)) for k in (0, 30, 30)),
        "every line edited by both": (prose, prose.replace(b"foo", b"fox"), prose.replace(b"baz", b"bat")),
        "deep quotes": tuple(
            b"\n".join(b">" * 150 + b"a %d b" % n for n in range(30_000)) + end for end in (b"", b"x", b"y")
        ),
    }


HOSTILE = hostile()


@pytest.mark.parametrize("documents", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_merged_in_bounded_time(documents):
    started = time.process_time()
    merge(*documents)
    assert time.process_time() - started < SECONDS


def test_far_edits_of_a_large_document_are_merged():
    base = b"".join(b"paragraph %d of this text\n\n" % number for number in range(40_000))
    ours, theirs = base.replace(b"paragraph 7 ", b"PARAGRAPH 7 "), base.replace(b"paragraph 39990 ", b"PARAGRAPH ")
    assert merge(base, ours, theirs).content == ours.replace(b"paragraph 39990 ", b"PARAGRAPH ")


def test_documents_of_too_many_lines_are_merged_only_if_one_side_is_unchanged(monkeypatch):
    monkeypatch.setattr(import_module("documents.domain.merge"), "MAX_LINES", 3)
    base, ours, theirs = b"a\nb\nc\nd\n", b"A\nb\nc\nd\n", b"a\nb\nc\nD\n"
    assert merge(base, ours, base).content == ours
    assert merge(base, base, ours).content == ours
    assert merge(base, ours, ours).content == ours
    assert merge(base, ours, theirs).content is None
    assert merge(base, ours, theirs).hunks[0].ours.lines == 4


def test_too_many_changes_are_taken_together(monkeypatch):
    monkeypatch.setattr(import_module("documents.domain.merge"), "MAX_CHANGES", 3)
    base = "".join(["```\n", *(f"line {number}\n" for number in range(40)), "```\n"])
    ours = re.sub(r"(\d*[05])\n", r"\1!\n", base)
    assert merged(base, ours, f"{base}end\n") == f"{ours}end\n"
    assert conflicts(base, ours, base.replace("line 22", "line xxii"))
