"""What this machine offers: programs, accounts, folders and ports. Standard library only, no state."""

import os
import pwd
import random
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOOPBACK = "127.0.0.1"


class CommandFailedError(Exception):
    """A command we rely on failed; the message carries what it said."""


class MissingProgramError(Exception):
    """A program the local start needs is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} was not found: install the Debian package {package}")
        self.program = program
        self.package = package


@dataclass(frozen=True)
class Account:
    """The user a program runs as; its groups are looked up when the program starts."""

    name: str
    uid: int
    gid: int

    def groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid)


def account(*names: str) -> Account | None:
    """The first of these users that exists if we are root (servers never run as root); else None: ourselves."""
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    return None


def find_program(name: str, package: str, *folders: str) -> str:
    """Absolute path of a program; system folders count even if an ordinary user's PATH leaves them out."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), SYSTEM_PATH])
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingProgramError(name, package)
    return found


def postgres_folder(major: str | None = None) -> Path:
    """Folder with initdb and postgres: of this major version, or the newest installed."""
    installed = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if major is not None:
        installed = [folder for folder in installed if folder.parent.name == major]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    if major is not None:
        raise MissingProgramError(f"PostgreSQL {major} (the data folder was made by it)", f"postgresql-{major}")
    return Path(find_program("initdb", "postgresql")).parent


def can_traverse(folder: Path, user: Account | None) -> bool:
    """Whether this user reaches the folder through all its parents (asked in a child process as that user)."""
    if user is None:
        return os.access(folder, os.X_OK)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(user.groups())
            os.setgid(user.gid)
            os.setuid(user.uid)
            os._exit(0 if os.access(folder, os.X_OK) else 1)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def own_folder(folder: Path, user: Account | None, mode: int = 0o700) -> Path:
    """Make the folder, give it to the user and set its mode; parents that are missing become 0711."""
    for missing in reversed([parent for parent in folder.parents if not parent.exists()]):
        missing.mkdir()
        missing.chmod(0o711)
    folder.mkdir(exist_ok=True)
    if user is not None:
        os.chown(folder, user.uid, user.gid)
    folder.chmod(mode)
    return folder


def own_file(path: Path, text: str, user: Account | None, mode: int = 0o600) -> Path:
    """Write a file that only the user reads, replacing it in one step."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    if user is not None:
        os.chown(draft, user.uid, user.gid)
    draft.chmod(mode)
    return draft.replace(path)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports below the range the kernel hands to outgoing connections, so that none is taken before we listen."""
    found: list[int] = []
    chance = random.SystemRandom()
    while len(found) < count:
        port = chance.randrange(20000, 32000)
        if port not in found and is_free(port):
            found.append(port)
    return found


def port_holder(port: int) -> str | None:
    """Who listens on this port: `pid 123 (nginx)`, `another user's process`, or None if nobody does."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None if is_free(port) else "another process"
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & _socket_inodes(process):
            return f"pid {process.name} ({_name(process)})"
    return "another user's process"


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "just ended"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _socket_inodes(process: Path) -> set[str]:
    found = set()
    try:
        for link in (process / "fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass  # gone, or of another user
    return found
