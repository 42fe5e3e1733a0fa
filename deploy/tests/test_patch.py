"""The patch the demo verifies diffs with is strict, and agrees with git."""

import os
import subprocess
from pathlib import Path

import pytest
from deploy.demonstration.patch import PatchError, apply_patch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"long line", b"\r", b"", b"x\x0c"]), max_size=12).map(b"\n".join)


def git_diff(folder: Path, old: bytes, new: bytes) -> bytes:
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    command = ["git", "diff", "--no-index", "--no-color", "--text", "--no-ext-diff", "old", "new"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).stdout


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=TEXTS, new=TEXTS)
def test_applying_what_git_wrote_gives_the_new_text(tmp_path: Path, old: bytes, new: bytes) -> None:
    assert apply_patch(old, git_diff(tmp_path, old, new)) == new


@pytest.mark.parametrize(
    "patch",
    [
        b"--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-other\n+three\n",
        b"--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n",
        b"--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n*two\n",
        b"--- a\n+++ b\n@@ -2,2 +2,2 @@\n one\n-two\n+three\n",
    ],
)
def test_a_diff_that_does_not_fit_is_refused(patch: bytes) -> None:
    with pytest.raises(PatchError):
        apply_patch(b"one\ntwo\n", patch)
