"""Unified diff: what programs that apply patches make of it."""

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.domain import unified_diff

PROPERTY = settings(deadline=None, max_examples=60, database=None)
SECONDS = 2.0
NAME = "my notes.md"
ALPHABETS = ("ab\n", "a\n\n", "a\r\n", "ab \n\r", "é世\u2028\x0c\n", "-+@\\ \n")


@st.composite
def versions(draw):
    characters = st.text(draw(st.sampled_from(ALPHABETS)), max_size=40)
    old = new = draw(characters)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(new)))
        new = new[:start] + draw(characters)[:5] + new[start + draw(st.integers(0, 5)) :]
    return old.encode(), new.encode()


def diff(old, new, context=3):
    return unified_diff(old, new, old_label=f"a/{NAME}", new_label=f"b/{NAME}", context=context)


def applied(old, patch, context):
    """What `git apply` makes of a file, in a folder that belongs to no repository and with no configuration."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "apply", "--whitespace=nowarn", *([] if context else ["--unidiff-zero"])]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, NAME)
        file.write_bytes(old)
        environment["GIT_CEILING_DIRECTORIES"] = str(file.parent.parent)
        subprocess.run(command, cwd=folder, input=patch.encode(), env=environment, check=True, capture_output=True)
        return file.read_bytes()


@PROPERTY
@given(documents=versions(), context=st.sampled_from((0, 1, 3)))
def test_git_applies_it_byte_for_byte(documents, context):
    old, new = documents
    patch = diff(old, new, context)
    assert (patch == "") == (old == new)
    if patch:
        assert applied(old, patch, context) == new


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"),
        (b"a\n", b"a", "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"),
        (b"", b"a\n", "@@ -0,0 +1 @@\n+a\n"),
        (b"a\nb\n", b"", "@@ -1,2 +0,0 @@\n-a\n-b\n"),
        (b"a\r\nb\r\n", b"a\r\nB\r\n", "@@ -1,2 +1,2 @@\n a\r\n-b\r\n+B\r\n"),
        (b"a\r\n", b"a\n", "@@ -1 +1 @@\n-a\r\n+a\n"),
        (b"x\n" * 2 + b"a\nb", b"x\n" * 2 + b"A\nb",
         "@@ -1,4 +1,4 @@\n x\n x\n-a\n+A\n b\n\\ No newline at end of file\n"),
        (b"p\n\nq\n", b"p\n\nn\n\nq\n", "@@ -1,3 +1,5 @@\n p\n \n+n\n+\n q\n"),
    ],
    ids=["edit", "final newline", "from nothing", "to nothing", "crlf", "line end", "no newline kept", "paragraph"],
)  # fmt: skip
def test_the_text_is_that_of_the_format(old, new, expected):
    assert diff(old, new) == f"--- a/{NAME}\t\n+++ b/{NAME}\t\n{expected}"


def test_changes_are_one_hunk_if_their_context_would_overlap():
    old = [b"%d\n" % number for number in range(20)]
    near, far = list(old), list(old)
    near[5] = near[12] = far[5] = far[13] = b"x\n"
    assert diff(b"".join(old), b"".join(near)).count("@@ -") == 1
    assert diff(b"".join(old), b"".join(far)).count("@@ -") == 2


def test_labels_cannot_break_the_header():
    patch = unified_diff(b"a\n", b"b\n", old_label="a\n+++ evil", new_label="plain")
    assert patch.splitlines()[:3] == ["--- a +++ evil\t", "+++ plain", "@@ -1 +1 @@"]


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(UnicodeDecodeError):
        diff(b"a", b"\xff")


def hostile():
    some = random.Random(1)
    size = 5_000_000
    return {
        "10 MB, far edits": (b"a\n" * size, b"x\n" + b"a\n" * size + b"y\n"),
        "2 MB with nothing in common": (b"a\n" * (size // 5), b"b\n" * (size // 5)),
        "alternating": (b"a\nb\n" * (size // 8), b"a\na\nb\n" * (size // 12)),
        "one line of 5 MB": (b"w " * (size // 2), b"X" + b"w " * (size // 2)),
        "at random": tuple(b"\n".join(some.choices((b"", b"x"), k=200_000)) for _ in range(2)),
    }


HOSTILE = hostile()


@pytest.mark.parametrize(("old", "new"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_compared_in_bounded_time(old, new):
    started = time.process_time()
    diff(old, new)
    assert time.process_time() - started < SECONDS
