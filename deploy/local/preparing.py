"""Everything that has to be in place before the fleet's processes start."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local import gateway, keys, launch, packages, routes
from deploy.local.console import say, step
from deploy.local.layout import Layout, SettingError, gateway_user
from deploy.local.machine import LOOPBACK, CommandFailedError, is_free, own_file, own_folder, port_holder
from deploy.local.plan import Plan
from deploy.local.programs import Fleet
from deploy.local.routes import SERVICES

LARGEST_LOG = 50_000_000


class PortsTakenError(Exception):
    """Somebody else listens on ports we need; the message says who and what to set."""


def load_keys(layout: Layout) -> keys.Keys:
    """The installation's secrets; they live as long as its data, even if `.state` goes and the data are outside."""
    beside_data = layout.data / "secrets.json"
    if beside_data.exists() and not layout.secrets.exists():
        own_file(layout.secrets, beside_data.read_text(), None)
    loaded = keys.load(layout.secrets)
    own_folder(layout.data, None, 0o711)
    own_file(beside_data, layout.secrets.read_text(), None)
    return loaded


def needed_packages(fleet: Fleet) -> set[str]:
    """Debian packages of the private servers and the gateway."""
    package_of = {"postgres": "postgresql", "redis": "redis-server", "rabbitmq": "rabbitmq-server"}
    return {package_of[name] for name in fleet.servers} | {"nginx-light"}


def install_packages(layout: Layout, needed: set[str]) -> None:
    """Install those of the Debian packages that are missing."""
    missing = packages.missing(needed)
    if missing:
        say(f"  installing {' '.join(missing)} (no system service is started, nothing is upgraded)")
        with step("packages", "done"):
            packages.install(missing, layout.logs / "packages.log")


def end_leftovers(layout: Layout) -> list[str]:
    """End what an earlier start of this checkout left running without its supervisor; returns the names."""
    plan = Plan.load(layout)
    programs = list(reversed(plan.programs.items())) if plan else []
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda item: launch.reap(item[0], item[1]["stop_signal"], 30), programs))
    for name, _ in programs:
        launch.record_file(name).unlink(missing_ok=True)
    return [name for (name, _), was_there in zip(programs, ended, strict=True) if was_there]


def check_ports(fleet: Fleet) -> None:
    """Raises `PortsTakenError` naming every collision and a value that would work."""
    taken = [(port, name, port_holder(port)) for port, name in fleet.listening().items()]
    lines = [f"port {port} is taken by {holder}; set {name}=…" for port, name, holder in taken if holder]
    if not lines:
        return
    names = {name for _, name, holder in taken if holder}
    advice = [f"{name}={_free_value(fleet, name)}" for name in sorted(names)]
    raise PortsTakenError("\n".join([*lines, f"for example: make up {' '.join(advice)}"]))


def _free_value(fleet: Fleet, name: str) -> int:
    if name == "GATEWAY_PORT":
        return next(port for port in range(fleet.ports.gateway + 1, 65536) if is_free(port))
    offsets = [port - fleet.ports.base for port, variable in fleet.listening().items() if variable == "PORT_BASE"]
    bases = [base for base in range(10000, 32000, 1000) if base != fleet.ports.base]
    after = sorted(bases, key=lambda base: (base < fleet.ports.base, base))
    return next(base for base in after if all(is_free(base + offset) for offset in offsets))


def prepare(fleet: Fleet) -> None:
    """Write all data folders, the gateway's files and the plan the launcher follows."""
    for folder in ("telemetry", "objects", "mail"):
        own_folder(fleet.layout.state / folder, None)
    if fleet.stand_in:
        fleet.stand_in.prepare()
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(server.prepare) for server in fleet.servers.values()]
        prepare_gateway(fleet)
        for job in jobs:
            job.result()
    Plan.of(fleet).save(fleet.layout)


def prepare_gateway(fleet: Fleet) -> None:
    """Render nginx.conf and /docs, and let nginx itself check them."""
    folder = own_folder(fleet.layout.data / "gateway", None, 0o711)
    own_folder(folder / "tmp", None, 0o711)
    shutil.rmtree(folder / "html", ignore_errors=True)
    table = routes.load()
    gateway.write_docs(own_folder(folder / "html", None, 0o711), table)
    logs = folder / "logs"
    logs.unlink(missing_ok=True)
    logs.symlink_to(fleet.layout.logs)
    for log in ("gateway-access.log", "gateway-error.log"):
        _rotate(fleet.layout.logs / log)
    user = gateway_user()
    reaches = fleet.layout.data != fleet.layout.outside
    if reaches:
        gateway.share_objects(folder, fleet.layout.objects, user)
    described = gateway.Gateway(
        listen=f"{LOOPBACK}:{fleet.ports.gateway}",
        upstreams={service: f"{LOOPBACK}:{fleet.ports.service(service)}" for service in SERVICES},
        user=user.name if user else None,
        trace_sample_percent=_percentage(fleet.given.get("TRACE_SAMPLE_PERCENT") or "10"),
        sends_objects=reaches,
    )
    own_file(folder / "nginx.conf", gateway.render(described, table), None)
    program = fleet.gateway_program()
    test = [*program.argv[: program.argv.index("-g")], "-t", "-q"]
    checked = subprocess.run(test, env=dict(program.env), capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        raise CommandFailedError(f"nginx refuses its configuration:\n{checked.stderr.strip()}")


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))


def _percentage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise SettingError(f"TRACE_SAMPLE_PERCENT must be a number from 0 to 100, not {text!r}")
    return value
