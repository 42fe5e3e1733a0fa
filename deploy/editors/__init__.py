"""Real JavaScript editors (Yjs providers and TipTap from npm) as clients of the live co-editing service."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.machine import CommandFailedError, find_program

HERE = Path(__file__).parent
PACKAGE_FILES = ("package.json", "package-lock.json")
COMMAND = ("ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error")


def install(source: Path = HERE, name: str = "editors") -> Path:
    """Bring a folder's locked npm packages and scripts into the state folder; its path there.

    Installs once for each content of the lock file, one process at a time, others wait. Raises `MissingProgramError`
    without node or npm, `CommandFailedError` with npm's own words.
    """
    folder = Path(os.environ.get("MDC_STATE_DIR", ".state")).resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in (*map(source.joinpath, PACKAGE_FILES), *source.glob("*.mjs")):
            draft = folder / f"{file.name}.new"
            shutil.copyfile(file, draft)
            draft.replace(folder / file.name)
        wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
        marker = folder / ".installed"
        if not marker.exists() or marker.read_text() != wanted:
            marker.unlink(missing_ok=True)
            _npm(folder)
            marker.write_text(wanted)
    return folder


def node() -> str:
    """The program. Raises `MissingProgramError`."""
    return find_program("node", "nodejs")


def _npm(folder: Path) -> None:
    node()
    npm = find_program("npm", "npm")
    print(f"installing npm packages into {folder}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [npm, *COMMAND], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CommandFailedError(f"npm {' '.join(COMMAND)} in {folder} ended with {done.returncode}:\n{done.stdout}")
