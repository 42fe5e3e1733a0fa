"""Command line of the local start, called by the Makefile: `python -m deploy.local up|down|…`."""

import os
import sys

from deploy.local import fleet
from deploy.local.console import NotReadyError, say
from deploy.local.database import DatabaseUnreachableError, MigrationFailedError
from deploy.local.layout import Layout, SettingError
from deploy.local.machine import CommandFailedError, MissingProgramError
from deploy.local.packages import NEEDED, CannotInstallError
from deploy.local.preparing import PortsTakenError, install_packages
from deploy.local.routes import SERVICES
from deploy.local.supervision import SupervisorFailedError

PLAIN = (
    CannotInstallError,
    CommandFailedError,
    DatabaseUnreachableError,
    MigrationFailedError,
    MissingProgramError,
    PortsTakenError,
    SettingError,
    SupervisorFailedError,
    fleet.NotUpError,
)
USAGE = (
    "usage: python -m deploy.local up | down | status | logs [program…] | reset | exec command… | "
    "as service command… | packages"
)


def main(arguments: list[str]) -> int:
    """Run one verb; expected failures are one plain message and exit code 1."""
    layout = Layout()
    os.chdir(layout.root)
    try:
        return _run(layout, arguments)
    except PLAIN as error:
        say(str(error))
    except NotReadyError as error:
        say(f"{error}\nLook with: {' ; '.join(f'make logs s={name}' for name in error.names)}")
        _print_ends(layout, error.names)
    except PermissionError as error:
        say(f"{error}\nWas MD Creator started by another user? Use the same one, or make a checkout of your own.")
    except KeyboardInterrupt:
        say("\nInterrupted; make down stops what has started.")
        return 130
    return 1


def _run(layout: Layout, arguments: list[str]) -> int:
    plain = {"down": fleet.down, "status": fleet.status, "reset": fleet.reset, "packages": _packages}
    match arguments:
        case ["up"]:
            return fleet.up(layout, os.environ)
        case [verb] if verb in plain:
            return plain[verb](layout)
        case ["logs", *names]:
            return fleet.logs(layout, names)
        case ["exec", _, *_]:
            return fleet.execute(layout, arguments[1:])
        case ["as", service, _, *_] if service in SERVICES:
            return fleet.execute_as(layout, service, arguments[2:])
    say(USAGE)
    return 2


def _packages(layout: Layout) -> int:
    layout.make()
    install_packages(layout, set(NEEDED))
    return 0


def _print_ends(layout: Layout, names: list[str]) -> None:
    for name in names:
        log = layout.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        say("\n".join([f"--- {log.relative_to(layout.root)}", *lines]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
