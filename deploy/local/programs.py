"""The programs of the local fleet, with the environment each one gets."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from deploy.local.backing import Postgres, Program, Rabbit, Redis, Server
from deploy.local.environments import Environments, Place
from deploy.local.keys import Keys, variable
from deploy.local.layout import Layout, Ports, SettingError
from deploy.local.machine import LOOPBACK, SYSTEM_PATH, find_program
from deploy.local.routes import SERVICES
from deploy.local.stand_in import StandIn

FRONT = "front"
PROVIDER = "dev-provider"
REAL_PROVIDERS = ("AI_PROXY_PROVIDERS", "AI_PROXY_PROVIDER_KEYS")
GIVEN_URLS = {"postgres": "POSTGRES_URL", "redis": "REDIS_URL", "rabbitmq": "AMQP_URL"}
OUTGOING = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Fleet:
    """One checkout's fleet as it is to run; `given` is the environment of `make up`."""

    layout: Layout
    ports: Ports
    keys: Keys
    given: Mapping[str, str]

    @property
    def url(self) -> str:
        """Public base URL."""
        return f"http://{LOOPBACK}:{self.ports.gateway}"

    @cached_property
    def servers(self) -> dict[str, Server]:
        """The private backing servers: those no URL was given for."""
        data, ports = self.layout.data, self.ports
        private: dict[str, Server] = {
            "postgres": Postgres(data / "postgres", ports.postgres, self.keys["postgres"]),
            "redis": Redis(data / "redis", ports.redis, self.keys["redis"]),
            "rabbitmq": Rabbit(
                data / "rabbitmq", ports.rabbitmq, ports.rabbitmq_distribution, ports.epmd, self.keys["rabbitmq"]
            ),
        }
        return {name: server for name, server in private.items() if not self.given.get(GIVEN_URLS[name])}

    @property
    def provider_url(self) -> str | None:
        """Of the development provider; None if a real one was set."""
        if any(self.given.get(name) for name in REAL_PROVIDERS):
            return None
        return f"http://{LOOPBACK}:{self.ports.provider}"

    @cached_property
    def stand_in(self) -> StandIn | None:
        """What plays S3, if that is to be the object store. Raises `SettingError`."""
        chosen = self.given.get("OBJECT_STORE") or "folder"
        if chosen not in ("folder", "s3"):
            raise SettingError(f"OBJECT_STORE must be folder or s3, not {chosen!r}")
        return StandIn(self.layout.data / "s3", self.ports.objects) if chosen == "s3" else None

    @cached_property
    def environments(self) -> Environments:
        place = Place(
            issuer=self.url,
            host=LOOPBACK,
            ports={name: self.ports.service(name) for name in SERVICES},
            internal_ports={name: self.ports.internal(name) for name in SERVICES},
            internal_urls={name: f"http://{LOOPBACK}:{self.ports.internal(name)}" for name in SERVICES},
            postgres_url=self.backing_url("postgres"),
            redis_url=self.backing_url("redis"),
            amqp_url=self.backing_url("rabbitmq"),
            state_dir=str(self.layout.state),
            provider_url=self.provider_url,
        )
        return Environments(place, self.keys)

    def backing_url(self, name: str) -> str:
        """Administrator's URL of a backing server, private or given."""
        return self.given.get(GIVEN_URLS[name]) or self.servers[name].url

    def listening(self) -> dict[int, str]:
        """Every port that will be listened on, with the variable that moves it."""
        ports = self.ports
        block = [ports.service(name) for name in SERVICES] + [ports.internal(name) for name in SERVICES]
        block += [ports.provider] if self.provider_url else []
        block += [ports.postgres] if "postgres" in self.servers else []
        block += [ports.objects] if self.stand_in else []
        block += [ports.redis] if "redis" in self.servers else []
        block += [ports.rabbitmq, ports.rabbitmq_distribution, ports.epmd] if "rabbitmq" in self.servers else []
        return {ports.gateway: "GATEWAY_PORT"} | dict.fromkeys(block, "PORT_BASE")

    def service_environment(self, service: str) -> dict[str, str]:
        """Complete environment of a service; settings given to `make up` win over ours."""
        ours = self.environments.shared() | self.environments.own(service) | self._objects()
        return self._system_environment() | ours | self._given("MDC_", variable(service, ""))

    def migration_environment(self) -> dict[str, str]:
        return self._system_environment() | self.environments.migration()

    def tool_environment(self) -> dict[str, str]:
        """What `make seed`, `make demo` and the like get on top of the caller's own environment."""
        ours = self.environments.shared() | self.environments.migration() | self._objects()
        return ours | {"GATEWAY_PORT": str(self.ports.gateway)} | self._given("MDC_")

    def service_program(self, service: str) -> Program:
        return Program(service, (sys.executable, "-m", "common.serve", service), self.service_environment(service))

    def provider_programs(self) -> list[Program]:
        """The development provider, if the AI is to be that one."""
        argv = (sys.executable, "-m", "deploy.provider", "--port", str(self.ports.provider))
        return [Program(PROVIDER, argv, self._system_environment())] if self.provider_url else []

    def gateway_program(self) -> Program:
        folder = self.layout.data / "gateway"
        argv = (find_program("nginx", "nginx-light"), "-e", "stderr", "-p", str(folder), "-c", "nginx.conf")
        environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(folder)}
        return Program("gateway", (*argv, "-g", "daemon off;"), environment, stop_signal="QUIT")

    def groups(self) -> dict[str, list[Program]]:
        """All programs: what is needed first, and what is started when the database is at its newest schema."""
        servers = [*self.servers.values(), *([self.stand_in] if self.stand_in else [])]
        return {
            "backing": [program for server in servers for program in server.programs()],
            FRONT: [*self.provider_programs(), *map(self.service_program, SERVICES), self.gateway_program()],
        }

    def _objects(self) -> dict[str, str]:
        return self.stand_in.environment() if self.stand_in else {}

    def _system_environment(self) -> dict[str, str]:
        home = os.path.expanduser("~")  # noqa: PTH111 - works without a passwd entry
        system = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": home}
        return system | {name: self.given[name] for name in OUTGOING if name in self.given}

    def _given(self, *prefixes: str) -> dict[str, str]:
        return {name: value for name, value in self.given.items() if name.startswith(prefixes)}
