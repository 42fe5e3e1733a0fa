"""What the last `make up` decided: how each program runs (for the launcher), where things are (for other verbs)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from deploy.local import launch
from deploy.local.layout import Layout
from deploy.local.machine import own_file
from deploy.local.programs import PROVIDER, Fleet
from deploy.local.routes import SERVICES


@dataclass(frozen=True)
class Plan:
    """Written before anything starts; holds secrets, so only its owner reads it."""

    url: str
    gateway_port: int
    port_base: int
    service_ports: dict[str, int]
    data: str
    environment: dict[str, str]
    programs: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, fleet: Fleet) -> Self:
        root = str(fleet.layout.root)
        return cls(
            url=fleet.url,
            gateway_port=fleet.ports.gateway,
            port_base=fleet.ports.base,
            service_ports={service: fleet.ports.service(service) for service in SERVICES},
            data=str(fleet.layout.data),
            environment=fleet.tool_environment(),
            programs={
                program.name: program.as_json() | {"cwd": root if program.name in (*SERVICES, PROVIDER) else "/"}
                for group in fleet.groups().values()
                for program in group
            },
        )

    @classmethod
    def load(cls, layout: Layout) -> Self | None:
        """The plan of the last start; None if there was none, or another release's."""
        try:
            return cls(**json.loads(_file(layout).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, layout: Layout) -> None:
        own_file(_file(layout), json.dumps(asdict(self), indent=1), None)


def _file(layout: Layout) -> Path:
    return layout.root / launch.PLAN
