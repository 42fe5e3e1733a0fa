"""Jobs in processes: what a file can do to its job, and what it cannot do to the service."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import uvloop

from files.processing.cage import Limits
from files.processing.facts import Facts, Problem
from files.processing.workshop import Workshop, WorkshopClosedError

from . import samples

HOSTILE = (sys.executable, "-I", str(Path(__file__).with_name("hostile.py")))
LIMITS = Limits(seconds=20, cpu_seconds=20)
GIB = 1 << 30


@pytest_asyncio.fixture
async def workshop() -> AsyncIterator[Workshop]:
    workshop = Workshop()
    yield workshop
    await workshop.close()


@pytest_asyncio.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Runs a job of `hostile.py` and leaves nothing running."""
    opened = []

    def open_one(**options: object) -> Workshop:
        opened.append(Workshop(**{"limits": LIMITS, "command": HOSTILE} | options))
        return opened[-1]

    yield open_one
    for workshop in opened:
        await workshop.close()


def file(tmp_path: Path, what: str | bytes) -> Path:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    path.write_bytes(what if isinstance(what, bytes) else b"%PDF-" + what.encode())
    return path


async def done(workshop: Workshop, tmp_path: Path, what: str) -> Facts:
    return await workshop.process(file(tmp_path, what), "application/pdf", "x.pdf")


def told(facts: Facts) -> dict[str, object]:
    assert facts.text, facts
    return json.loads(facts.text[0].text)


BEFORE: set[int] = set()
"""Children that are not this test's: the run's servers."""


@pytest.fixture(autouse=True)
def _others() -> None:
    BEFORE.clear()
    BEFORE.update(child.pid for child in psutil.Process().children())


def descendants() -> list[psutil.Process]:
    own = [child for child in psutil.Process().children() if child.pid not in BEFORE]
    return [process for child in own for process in (child, *child.children(recursive=True))]


async def test_every_kind_of_file_is_processed(workshop: Workshop, tmp_path: Path) -> None:
    """In the cage: what is not loaded before a job begins cannot be loaded by it."""
    photo = samples.picture(1500, 1000)
    for kind, media_type in (
        ("PNG", "png"),
        ("JPEG", "jpeg"),
        ("GIF", "gif"),
        ("WEBP", "webp"),
        ("AVIF", "avif"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
    ):
        found = await workshop.process(file(tmp_path, samples.saved(photo, kind)), "", "x")
        assert (found.media_type, found.problem, set(found.thumbnails)) == (f"image/{media_type}", None, {256, 1024})
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        mono = photo.convert("1") if compression == "group4" else photo
        found = await workshop.process(file(tmp_path, samples.saved(mono, "TIFF", compression=compression)), "", "x")
        assert (found.problem, len(found.thumbnails)) == (None, 2), compression
    found = await workshop.process(file(tmp_path, samples.saved(photo.resize((64, 64)), "ICO")), "", "x")
    assert (found.problem, len(found.thumbnails)) == (None, 1)
    for data, name, expected in (
        (samples.pdf(["one", "two"]), "a.pdf", ["one", "two"]),
        (samples.docx(samples.paragraph("one")), "a.docx", ["one"]),
        (b"<p>one</p>", "a.html", ["one"]),
        (b"# one", "a.md", ["# one"]),
        ("\ufeffone".encode("utf-16-le"), "a.txt", ["one"]),
        (("Grüße, Österreich, schöne Tage im Frühling. " * 40).encode("latin-1"), "a.txt", None),
        ("Привет, как дела? Сегодня хорошая погода. ".encode("koi8-r") * 40, "a.txt", None),
        ("これは日本語の文章です。今日は天気がいいですね。".encode("shift-jis") * 40, "a.txt", None),
        (b"a,b\n1,2", "a.csv", ["a,b\n1,2"]),
    ):
        found = await workshop.process(file(tmp_path, data), "application/octet-stream", name)
        assert found.problem is None, (name, found)
        assert found.text, name
        assert found.tokens
        assert expected is None or [page.text for page in found.text] == expected
    assert await workshop.process(file(tmp_path, b"\x1f\x8b\x08"), "", "x") == Facts("application/gzip")
    assert await workshop.process(file(tmp_path, b""), "", "x") == Facts("application/octet-stream")


async def test_a_png_that_is_html_is_html(workshop: Workshop, tmp_path: Path) -> None:
    found = await workshop.process(file(tmp_path, b"<html><script>alert(1)</script>Hello"), "image/png", "cat.png")
    assert (found.media_type, found.thumbnails) == ("text/html", {})
    assert [page.text for page in found.text or ()] == ["Hello"]


async def test_bombs_are_defused(workshop: Workshop, tmp_path: Path) -> None:
    found = await workshop.process(file(tmp_path, samples.huge_png(50_000, pixels=True)), "image/png", "x.png")
    assert (found.problem, found.width, found.height) == (Problem.IMAGE_TOO_LARGE, 50_000, 50_000)
    bomb = samples.docx(samples.paragraph("a" * 100_000_000))
    found = await workshop.process(file(tmp_path, bomb), "", "x.docx")
    assert found.problem == Problem.DOCX_TOO_LARGE


@pytest.mark.parametrize("what", ["loop", "sleep"])
async def test_a_job_that_does_not_end_is_killed(hostile, tmp_path: Path, what: str) -> None:
    workshop = hostile(limits=Limits(seconds=1.0), jobs=1)
    started = time.monotonic()
    assert (await done(workshop, tmp_path, what)).problem == Problem.TIMED_OUT
    assert time.monotonic() - started < 3
    assert told(await done(workshop, tmp_path, "well"))["what"] == "well", "the slot is free"
    assert len(descendants()) == 1, "the zygote"


async def test_a_job_that_computes_for_too_long_is_killed_by_the_kernel(hostile, tmp_path: Path) -> None:
    workshop = hostile(limits=Limits(seconds=60, cpu_seconds=1))
    started = time.monotonic()
    assert (await done(workshop, tmp_path, "loop")).problem == Problem.TIMED_OUT
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("memory", Problem.OUT_OF_MEMORY),
        ("segfault", Problem.FAILED),
        ("abort", Problem.FAILED),
        ("raise", Problem.FAILED),
        ("flood", Problem.FAILED),
        ("nonsense", Problem.FAILED),
        ("silence", Problem.FAILED),
    ],
)
async def test_what_a_job_does_is_its_problem_only(hostile, tmp_path: Path, what: str, problem: Problem) -> None:
    workshop = hostile(jobs=1)
    pid = told(await done(workshop, tmp_path, "well")) and descendants()[0].pid
    for _ in range(2):
        found = await done(workshop, tmp_path, what)
        assert (found.media_type, found.problem) == ("application/pdf", problem)
    assert told(await done(workshop, tmp_path, "well"))["what"] == "well"
    assert [child.pid for child in descendants()] == [pid], "the zygote lives on, without zombies"


async def test_a_job_has_no_secret_no_socket_and_no_file(hostile, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    with socket.socket() as database, socket.socket() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        found = told(await done(hostile(), tmp_path, "held"))
        assert database.fileno() > 2
    environment = {name: value for name, value in found["environment"].items() if name != "LC_CTYPE"}
    assert environment == {"LC_ALL": "C.UTF-8"}
    descriptors = found["descriptors"]
    assert descriptors[:3] == [0, 1, 2] or descriptors[0] == 2, descriptors
    assert len([number for number in descriptors if number > 2]) == 2, "the file and the way back"


async def test_the_kernel_refuses_a_job_all_but_memory(hostile, tmp_path: Path) -> None:
    found = told(await done(hostile(), tmp_path, "refused"))
    assert set(found.values()) == {"PermissionError"}, found


async def test_a_job_is_not_believed_about_the_type(hostile, tmp_path: Path) -> None:
    assert (await done(hostile(), tmp_path, "liar")) == Facts("application/pdf")


async def test_only_so_many_jobs_at_once(hostile, tmp_path: Path) -> None:
    workshop = hostile(limits=Limits(seconds=1.5), jobs=2)
    started = time.monotonic()
    running = [asyncio.create_task(done(workshop, tmp_path, "sleep")) for _ in range(4)]
    await asyncio.sleep(1.0)
    assert len(descendants()) == 3, "the zygote and two jobs"
    assert {facts.problem for facts in await asyncio.gather(*running)} == {Problem.TIMED_OUT}
    assert 3.0 <= time.monotonic() - started < 6


async def test_a_job_whose_caller_gave_up_is_killed(hostile, tmp_path: Path) -> None:
    workshop = hostile()
    await done(workshop, tmp_path, "well")
    running = asyncio.create_task(done(workshop, tmp_path, "sleep"))
    while len(descendants()) < 2:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.2)
    assert len(descendants()) == 1
    assert told(await done(workshop, tmp_path, "well"))


async def test_a_zygote_that_is_killed_is_replaced_and_its_jobs_begin_again(hostile, tmp_path: Path) -> None:
    workshop = hostile(limits=Limits(seconds=3))
    await done(workshop, tmp_path, "well")
    running = asyncio.create_task(done(workshop, tmp_path, "sleep"))
    while len(descendants()) < 2:
        await asyncio.sleep(0.01)
    zygote, job = descendants()
    zygote.kill()
    assert told(await done(workshop, tmp_path, "well"))
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE, "a job does not outlive its zygote"
    assert (await running).problem == Problem.TIMED_OUT, "tried again"


async def test_a_zygote_that_stands_still_is_replaced(hostile, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("files.processing.workshop.DEATH_SECONDS", 0.5)
    workshop = hostile(limits=Limits(seconds=1), jobs=1)
    await done(workshop, tmp_path, "well")
    os.kill(descendants()[0].pid, signal.SIGSTOP)
    assert (await done(workshop, tmp_path, "well")).problem in {Problem.TIMED_OUT, Problem.FAILED}
    assert told(await done(workshop, tmp_path, "well"))


def unix_sockets():
    """The only kind a workshop makes; of others there are more and fewer while a whole fleet runs here."""
    return {(one.fd, one.laddr) for one in psutil.Process().net_connections("unix")}


async def test_closing_leaves_nothing_behind(hostile, tmp_path: Path) -> None:
    gc.collect()
    before = unix_sockets()
    workshop = hostile()
    await done(workshop, tmp_path, "well")
    running = asyncio.create_task(done(workshop, tmp_path, "sleep"))
    while len(descendants()) < 2:
        await asyncio.sleep(0.01)
    await workshop.close()
    with pytest.raises(WorkshopClosedError):
        await running
    with pytest.raises(WorkshopClosedError):
        await done(workshop, tmp_path, "well")
    await asyncio.sleep(0.2)
    assert descendants() == []
    gc.collect()
    assert unix_sockets() <= before


async def test_when_the_service_is_killed_its_jobs_die(tmp_path: Path) -> None:
    path = file(tmp_path, "sleep")
    program = (
        "import asyncio, pathlib; from files.processing.workshop import Workshop;"
        f"asyncio.run(Workshop(command={HOSTILE!r}).process(pathlib.Path({str(path)!r}), '', 'x'))"
    )
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    family: list[psutil.Process] = []
    async with asyncio.timeout(20):
        while len(family) < 2:
            await asyncio.sleep(0.05)
            family = psutil.Process(service.pid).children(recursive=True)
    service.kill()
    await service.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 3)
    assert alive == []


async def test_a_file_that_is_not_there_is_the_callers_error(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await workshop.process(tmp_path / "missing", "", "x")
    with pytest.raises(IsADirectoryError):
        await workshop.process(tmp_path, "", "x")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b.png", "\ud800.md", "x" * 100_000, "'; DROP TABLE", ""])
async def test_names_do_nothing(workshop: Workshop, tmp_path: Path, name: str) -> None:
    found = await workshop.process(file(tmp_path, b"# text"), "", name)
    assert found.text
    assert found.text[0].text == "# text"


def test_it_works_under_uvloop(tmp_path: Path) -> None:
    async def run() -> list[Facts]:
        workshop = Workshop(command=HOSTILE, limits=LIMITS)
        try:
            return [await done(workshop, tmp_path, what) for what in ("well", "segfault", "flood", "well")]
        finally:
            await workshop.close()

    first, crashed, flooded, last = uvloop.run(run())
    assert (crashed.problem, flooded.problem) == (Problem.FAILED, Problem.FAILED)
    assert told(first)["what"] == told(last)["what"] == "well"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_it_works_as_an_ordinary_user() -> None:
    """Only the cage: an interpreter below /root cannot be started by anybody else."""
    program = (
        "import os; from files.processing.cage import Limits, close_cage; os.setgid(65534); os.setuid(65534)\n"
        "close_cage(Limits())\n"
        "try: os.pipe()\n"
        "except PermissionError: os.write(1, b'refused')\n"
        "os._exit(0)"
    )
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await run.communicate()
    assert output == b"refused"
