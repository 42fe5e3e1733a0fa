"""Installs the Debian packages the local start needs, in a way that starts no system service and upgrades nothing."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.machine import MissingProgramError, find_program, postgres_folder

POLICY = Path("/usr/sbin/policy-rc.d")
SAVED_POLICY = POLICY.with_name("policy-rc.d.before-mdcreator")
NEEDED: dict[str, tuple[Callable[[], object], ...]] = {
    "postgresql": (postgres_folder,),
    "redis-server": (lambda: find_program("redis-server", "redis-server"),),
    "rabbitmq-server": (
        lambda: find_program("rabbitmq-server", "rabbitmq-server", "/usr/lib/rabbitmq/bin"),
        lambda: find_program("epmd", "erlang-base"),
    ),
    "nginx-light": (lambda: find_program("nginx", "nginx-light"),),
}


class CannotInstallError(Exception):
    """Packages are missing and we may not or cannot install them; the message says what to do."""


def missing(packages: set[str]) -> list[str]:
    """Those of the packages whose programs are not on this machine."""
    return [name for name, programs in NEEDED.items() if name in packages and not all(map(_found, programs))]


def install(packages: list[str], log: Path) -> None:
    """Install with apt-get. Raises `CannotInstallError` if we are not root or there is no apt-get."""
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    alternative = "or use containers: see deploy/README.md, Compose"
    if shutil.which("apt-get") is None:
        raise CannotInstallError(
            f"Please install what these Debian packages contain: {' '.join(packages)}\n{alternative}"
        )
    if os.geteuid() != 0:
        raise CannotInstallError(f"Please install as root:\n    {command}\n{alternative}")
    with _nothing_starts(), log.open("wb") as output:
        arguments = ["install", "--yes", "--no-install-recommends", "--no-upgrade", *packages]
        if _apt(arguments, output.fileno()) != 0:
            _apt(["update"], output.fileno())
            if _apt(arguments, output.fileno()) != 0:
                raise CannotInstallError(f"apt-get failed, see {log}; by hand:\n    {command}\n{alternative}")
    left = missing(set(packages))
    if left:
        raise CannotInstallError(f"apt-get installed {' '.join(left)}, but their programs were not found, see {log}")


def _apt(arguments: list[str], output: int) -> int:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
    ).returncode


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """While this lasts, packages may not start their services (invoke-rc.d asks policy-rc.d)."""
    if POLICY.exists() and not SAVED_POLICY.exists():
        POLICY.rename(SAVED_POLICY)
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
        if SAVED_POLICY.exists():
            SAVED_POLICY.rename(POLICY)


def _found(program: Callable[[], object]) -> bool:
    try:
        program()
    except MissingProgramError:
        return False
    return True
