"""Laws of merge, diff and edits, on arbitrary text and on Markdown's own constructs."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from documents.domain import (
    Append,
    FindAmbiguousError,
    FindNotFoundError,
    Prepend,
    Replace,
    apply_edits,
    merge,
    merge_edits,
    only_adds,
    unified_diff,
)

LAWS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LINES = st.sampled_from(
    [
        "", "# Title", "one two three", "the quick brown fox jumps", "- item", "- item", "| a | b |", "|---|---|",
        "```", "    code", "日本語の文", "émoji 🧑‍🚀 here", "---", "last", "> quote", "a\u2028b\x0cc", " ",
    ]
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


@st.composite
def documents(draw):
    lines = draw(st.lists(LINES, max_size=12))
    text = "".join(line + draw(ENDS) for line in lines)
    return (draw(st.sampled_from(["", "", "\ufeff"])) + text + draw(st.sampled_from(["", "tail"]))).encode()


@st.composite
def edited(draw, base):
    """`base` with a few lines replaced, inserted or removed."""
    lines = base.decode().split("\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(LINES, max_size=2))
    return "\n".join(lines).encode()


@st.composite
def forks(draw):
    base = draw(documents())
    return base, draw(edited(base)), draw(edited(base))


@LAWS
@given(forks())
def test_an_untouched_side_gives_way(fork):
    base, ours, theirs = fork
    assert merge(base, ours, base).content == ours
    assert merge(base, base, theirs).content == theirs


@LAWS
@given(forks())
def test_equal_sides_agree(fork):
    base, ours, _ = fork
    assert merge(base, ours, ours).content == ours
    assert merge_edits(base, ours, ours).content == ours


@LAWS
@given(forks())
def test_merge_is_commutative(fork):
    base, ours, theirs = fork
    assert merge(base, ours, theirs).content == merge(base, theirs, ours).content


WORDS = [f"word{n}" for n in range(60)]


@st.composite
def prose_forks(draw):
    """Prose whose words are all different, and two sides that insert words of their own anywhere in it."""
    base = draw(st.lists(st.sampled_from([" ", "\n", "\n\n"]), min_size=30, max_size=59))
    text = "".join(word + gap for word, gap in zip(WORDS, [*base, "\n"], strict=False))

    def side(mark):
        words = text.split(" ")
        inserted = [f"{mark}{n}" for n in range(draw(st.integers(1, 3)))]
        for word in inserted:
            words.insert(draw(st.integers(0, len(words))), word)
        return " ".join(words), inserted

    (ours, our_words), (theirs, their_words) = side("ours"), side("theirs")
    return text.encode(), ours.encode(), theirs.encode(), our_words + their_words


@LAWS
@given(prose_forks())
def test_every_inserted_word_survives_or_it_is_a_conflict(fork):
    base, ours, theirs, inserted = fork
    for result in (merge(base, ours, theirs), merge_edits(base, ours, theirs)):
        if result.content is None:
            assert result.conflicts > 0
            continue
        text = result.content.decode()
        assert [word for word in [*inserted, *base.decode().split()] if text.count(word) < 1] == []
        assert len(text.split()) == len(base.decode().split()) + len(inserted)


@LAWS
@given(forks())
def test_hunks_say_what_the_result_is(fork):
    result = merge(*fork)
    assert result.conflicts == sum(hunk.conflict for hunk in result.hunks)
    assert (result.content is None) is (result.conflicts > 0)


CODE = "```python\nvalue = one + two + three\n```\n"
PROTECTED = {
    "fenced code": CODE,
    "tilde fence": CODE.replace("```", "~~~~"),
    "unclosed fence": "```\nvalue = one + two + three\n",
    "table": "| name | amount |\n|------|--------|\n| one two | three four |\n",
    "front matter": "---\ntitle: one two three four\n---\n\ntext\n",
    "indented code": "text\n\n    value = one + two + three\n\ntext\n",
    "math": "$$\nvalue = one + two + three\n$$\n",
    "html": "<div>\none two three four\n</div>\n",
}


@pytest.mark.parametrize("name", PROTECTED)
def test_words_are_never_merged_inside(name):
    base = PROTECTED[name].encode()
    assert merge(base, base.replace(b"one", b"ONE"), base.replace(b"three", b"THREE")).content is None


def test_words_are_merged_in_prose():
    base = b"The quick brown fox jumps over the lazy dog near the river.\n"
    ours, theirs = base.replace(b"quick", b"slow"), base.replace(b"river", b"lake")
    assert merge(base, ours, theirs).content == b"The slow brown fox jumps over the lazy dog near the lake.\n"


def test_deleting_a_line_somebody_edits_is_a_conflict():
    base = b"one\n\ntwo words here\n\nthree\n"
    deleted, changed = base.replace(b"two words here\n\n", b""), base.replace(b"words", b"words indeed")
    assert merge(base, deleted, changed).content is None


def test_line_ends_and_byte_order_marks_are_merged_not_normalised():
    base = b"one\ntwo\nthree\n"
    turned = base.replace(b"\n", b"\r\n")
    assert merge(base, turned, base.replace(b"two", b"2")).content == b"one\r\n2\r\nthree\r\n"
    assert merge(base, b"\xef\xbb\xbf" + base, base.replace(b"two", b"2")).content == b"\xef\xbb\xbfone\n2\nthree\n"
    mixed = b"one\r\ntwo\nthree"
    assert merge(mixed, mixed.replace(b"one", b"1"), mixed + b"!").content == b"1\r\ntwo\nthree!"


def test_additions_at_the_same_end_keep_both_in_order_of_arrival():
    base = b"# Log\n\n- first\n"
    assert merge_edits(base, base + b"- second\n", base + b"- third\n").content == base + b"- second\n- third\n"
    assert merge_edits(base, b"later\n" + base, b"latest\n" + base).content == b"latest\nlater\n" + base


@pytest.mark.parametrize(
    "hostile",
    [b"a\n" * 200_000, b"\n" * 300_000, b"x\ny\n" * 100_000, b"a " * 300_000, b"|a|b|\n" * 50_000],
    ids=["same lines", "blank lines", "alternating", "one line", "table"],
)
def test_hostile_repetition_is_answered_in_bounded_work(hostile):
    middle = len(hostile) // 2
    ours = hostile[:middle] + b"OURS\n" + hostile[middle:]
    theirs = b"THEIRS\n" + hostile[: middle // 2] + hostile[middle // 2 + 7 :]
    result = merge(hostile, ours, theirs)
    assert result.content is None or (b"OURS" in result.content and b"THEIRS" in result.content)
    assert unified_diff(hostile, theirs, old_label="a", new_label="b")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(forks())
def test_git_applies_our_diffs(tmp_path_factory, fork):
    folder = tmp_path_factory.mktemp("diff")
    old, new, _ = fork
    diff = unified_diff(old, new, old_label="a/note.md", new_label="b/note.md")
    (folder / "note.md").write_bytes(old)
    if not diff:
        assert old == new
        return
    command = ["git", "apply", "--unsafe-paths", "--whitespace=nowarn", "-p1", "-"]
    environment = {"GIT_CEILING_DIRECTORIES": str(folder.parent), "PATH": "/usr/bin:/bin:/usr/local/bin"}
    if not old or not new:
        return  # git wants /dev/null there; the route shows such diffs to people
    done = subprocess.run(command, cwd=folder, env=environment, input=diff.encode(), capture_output=True, check=False)
    assert done.returncode == 0, (done.stderr, diff)
    assert (folder / "note.md").read_bytes() == new


def test_edits_apply_in_order_and_name_what_does_not_fit():
    text = apply_edits("one two", [Replace("two", "2"), Append("!"), Prepend("> "), Replace("2!", "two")])
    assert text == "> one two"
    with pytest.raises(FindNotFoundError):
        apply_edits("one", [Replace("two", "")])
    with pytest.raises(FindAmbiguousError):
        apply_edits("aaa", [Replace("aa", "")])
    assert apply_edits("\ufeffone", [Prepend("zero ")]) == "\ufeffzero one"
    assert only_adds([Append("x"), Prepend("y")])
    assert not only_adds([Append("x"), Replace("y", "z")])
