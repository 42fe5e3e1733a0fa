"""The demo says what is true: it passes on a sound fleet, names what it leaves out, and fails on damaged data."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from deploy import demo
from deploy.client import base_url, percentile, require_loopback
from deploy.demonstration import tree
from deploy.local.machine import free_ports
from deploy.tests.processes import Fleet

ROOT = Path(__file__).parents[2]
LARGE = b"".join(b"Line %d of a document that lies in the object store.\n" % n for n in range(1000))


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """A tree with everything a real one may hold."""
    folder = tmp_path / "my notes"
    for place in ("empty/deeper", ".obsidian", "a folder.md"):
        (folder / place).mkdir(parents=True)
    files = {
        "empty.md": b"",
        "no-newline.md": b"one line",
        "crlf ü.markdown": b"\xef\xbb\xbf# BOM\r\n\r\n" + b"eins\r\n\r\n" * 8 + b"ohne Ende",
        "mixed.MD": b"a\rb\r\nc\n\x0cd\xe2\x80\xa8e\n" * 6,
        "same.md": b"same\n" * 40,
        "blank.md": b"\n" * 30,
        "fence.md": b"```\n" + b"code\n" * 20 + b"```\n",
        "cjk.md": "日本語の文書。\n\n".encode() * 20,
        "large.md": LARGE,
        "latin1.md": b"caf\xe9\n",
        "nul.md": b"a\0b\n",
        "huge.md": b"x" * (tree.DOCUMENT_LIMIT + 1),
        ".obsidian/hidden.md": b"hidden\n",
        "notes.txt": b"not Markdown\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "broken.md").symlink_to(folder / "nowhere")
    return folder


def test_tree_names_everything_it_leaves_out(awkward: Path) -> None:
    found = tree.of_folder(awkward)
    assert [item.name for item in found.found] == [
        "blank.md", "cjk.md", "crlf ü.markdown", "empty.md", "fence.md", "large.md", "mixed.MD", "no-newline.md",
        "same.md",
    ]  # fmt: skip
    assert dict(found.skipped) == {
        "broken.md": "cannot be read: No such file or directory",
        "huge.md": "10,485,761 bytes: more than a document may have (10,485,760)",
        "latin1.md": "not UTF-8 (byte 3)",
        "nul.md": "not text (NUL at byte 1)",
    }
    assert found.unentered == 1
    assert all(item.content == (awkward / item.name).read_bytes() for item in found.found)


def test_tree_stops_at_its_limit_and_says_how_much_is_left(awkward: Path) -> None:
    found = tree.of_folder(awkward, limit=4)
    assert (len(found.found), found.left_out) == (4, 7)


def test_tree_of_this_product_has_readmes_of_packages() -> None:
    found = tree.of_this_product(ROOT)
    assert len(found.found) > 40
    assert any(name.name.startswith("packages/pydantic-") for name in found.found)
    assert any(name.name.startswith("repository/services/documents/README") for name in found.found)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"GATEWAY_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"GATEWAY_PORT": "9000", "MDC_ISSUER": "http://127.0.0.1:9001"}, "http://127.0.0.1:9001"),
    ],
)
def test_base_url(environment: dict[str, str], url: str) -> None:
    assert require_loopback(base_url(environment)) == url


def test_percentile() -> None:
    assert [percentile([4, 1, 3, 2], percent) for percent in (0, 25, 50, 95, 100)] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "changes", "exit_code", "said"),
    [
        ([], {"MDC_ISSUER": "https://example.org"}, 2, "not on this machine"),
        (["{tmp}/nowhere"], {}, 2, "is not a folder"),
        (["{tmp}"], {}, 2, "no Markdown"),
        (["{tmp}/one"], {"DEMO_DOCUMENTS": "many"}, 2, "invalid literal"),
        (["{tmp}/one"], {"MDC_MAIL_DIR": None}, 2, "MDC_MAIL_DIR is not set"),
        (["{tmp}/one"], {}, 1, "make up"),
    ],
)
async def test_what_cannot_be_tried_is_said_plainly(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    changes: dict[str, str | None],
    exit_code: int,
    said: str,
) -> None:
    if "one" in "".join(arguments):
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "note.md").write_text("# Note\n")
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    environment = {"MDC_ISSUER": nobody, "MDC_MAIL_DIR": str(tmp_path), "MDC_STATE_DIR": str(tmp_path)}
    given = {name: value for name, value in (environment | changes).items() if value is not None}
    assert await demo.main([part.format(tmp=tmp_path) for part in arguments], given) == exit_code
    assert said in capsys.readouterr().out


async def run_demo(fleet: Fleet, folder: Path) -> tuple[int, str]:
    environment = dict(os.environ) | {
        "MDC_ISSUER": fleet.url,
        "MDC_MAIL_DIR": str(fleet.mails),
        "MDC_STATE_DIR": str(fleet.state),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "deploy/demo.py", str(folder), cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.slow
async def test_demo_passes_again_and_again_and_fails_on_damaged_data(ready: Fleet, awkward: Path) -> None:
    exit_code, first = await run_demo(ready, awkward)
    assert exit_code == 0, first
    assert "earlier run      none yet" in first
    for name in ("broken.md", "huge.md", "latin1.md", "nul.md"):
        assert f"skipped          {name}: " in first
    assert "documents          9 " in first
    assert "All as it should be" in first

    exit_code, second = await run_demo(ready, awkward)
    assert exit_code == 0, second
    assert "every byte is still there" in second

    remembered = json.loads((ready.state / "demo.json").read_text())
    damaged = 0
    for file in (path for path in ready.objects.rglob("*") if path.is_file()):
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        damaged += 1
    exit_code, third = await run_demo(ready, awkward)
    assert damaged > 0
    assert exit_code == 1
    assert "DAMAGED" in third
    assert f"earlier run of {remembered['at']}" in third
    assert json.loads((ready.state / "demo.json").read_text()) == remembered, "a bad run does not replace a good one"
