"""Reads deploy/routes.json, the only route table: which prefix goes to which service, what needs no access token."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "routes.json"
SERVICES = ("auth-gateway", "documents", "sync", "collab", "files", "ai-proxy")
ERRORS = ("problem", "openai", "anthropic")
NEVER_ROUTED = ("/health", "/version", "/internal")
PREFIX = re.compile(r"(/[a-z0-9.][a-z0-9.-]*)+")
PATH = re.compile(r"(/([a-z0-9.][a-z0-9.-]*|\{[a-z_]+\}))+")


class RouteTableError(ValueError):
    """routes.json says something that cannot be meant."""


@dataclass(frozen=True)
class Route:
    """Requests to `prefix` itself or anything below it; streaming: nothing is buffered, WebSockets may upgrade.

    `errors`: whose shape the gateway's own answers have.
    """

    prefix: str
    service: str
    streaming: bool
    body_limit_mib: int
    errors: str = "problem"


@dataclass(frozen=True)
class Public:
    """An operation that needs no access token; the path is an OpenAPI template."""

    method: str
    path: str


@dataclass(frozen=True)
class Routes:
    """The whole table. `docs` is where the gateway serves the API documentation itself."""

    routes: tuple[Route, ...]
    public: tuple[Public, ...]
    docs: str

    def route_for(self, path: str) -> Route | None:
        """The row with the longest prefix on a segment boundary, as the gateways choose it."""
        matching = [route for route in self.routes if (path + "/").startswith(route.prefix + "/")]
        return max(matching, key=lambda route: len(route.prefix), default=None)


def load(file: Path = FILE) -> Routes:
    """Read and check the table. Raises `RouteTableError`."""
    table = json.loads(file.read_text())
    routes = Routes(
        routes=tuple(Route(**row) for row in table["routes"]),
        public=tuple(Public(**row) for row in table["public"]),
        docs=table["docs"],
    )
    problems = list(_problems(routes))
    if problems:
        raise RouteTableError(f"{file.name}: " + "; ".join(problems))
    return routes


def openapi_path(service: str) -> str:
    """Where a service publishes its OpenAPI."""
    return f"/v1/{service}/openapi.json"


def _problems(table: Routes) -> list[str]:
    found = []
    prefixes = [route.prefix for route in table.routes] + [table.docs]
    found += [f"{prefix} is listed twice" for prefix in sorted({p for p in prefixes if prefixes.count(p) > 1})]
    found += [f"{prefix} is not a prefix" for prefix in prefixes if not PREFIX.fullmatch(prefix)]
    found += [f"{p} is never routed" for p in prefixes for never in NEVER_ROUTED if (p + "/").startswith(never + "/")]
    found += [f"{route.service} is no service" for route in table.routes if route.service not in SERVICES]
    found += [f"{route.prefix}: body limit below 1 MiB" for route in table.routes if route.body_limit_mib < 1]
    found += [
        f"{route.prefix}: nobody has errors like {route.errors}" for route in table.routes if route.errors not in ERRORS
    ]
    for service in SERVICES:
        route = table.route_for(openapi_path(service))
        if route is None or route.service != service:
            found.append(f"{openapi_path(service)} does not lead to {service}")
    for public in table.public:
        if not PATH.fullmatch(public.path) or table.route_for(public.path) is None:
            found.append(f"public {public.method} {public.path} has no route")
    return found
