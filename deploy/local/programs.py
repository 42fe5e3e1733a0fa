"""The programs of the local fleet, with the environment each one gets."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from deploy.local.backing import Postgres, Program, Rabbit, Redis, Server
from deploy.local.keys import Keys, schema, variable
from deploy.local.layout import Layout, Ports
from deploy.local.machine import LOOPBACK, SYSTEM_PATH, find_program
from deploy.local.routes import SERVICES

DATABASE = "mdcreator"
SERVICE_GROUP = "services"
GIVEN_URLS = {"postgres": "POSTGRES_URL", "redis": "REDIS_URL", "rabbitmq": "AMQP_URL"}
DEVELOPMENT_ORIGINS = ("http://localhost:5173", "http://localhost:3000", "tauri://localhost")
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

    def listening(self) -> dict[int, str]:
        """Every port that will be listened on, with the variable that moves it."""
        ports, private = self.ports, self.servers()
        block = [ports.service(name) for name in SERVICES] + [ports.internal(name) for name in SERVICES]
        block += [ports.postgres] if "postgres" in private else []
        block += [ports.redis] if "redis" in private else []
        block += [ports.rabbitmq, ports.rabbitmq_distribution, ports.epmd] if "rabbitmq" in private else []
        return {ports.gateway: "GATEWAY_PORT"} | dict.fromkeys(block, "PORT_BASE")

    def backing_url(self, name: str) -> str:
        """Administrator's URL of a backing server, private or given."""
        given = self.given.get(GIVEN_URLS[name])
        return given or self.servers()[name].url

    def database_url(self, role: str | None = None) -> str:
        """URL of our database as the given role, or as the administrator."""
        parts = urlsplit(self.backing_url("postgres"))
        database = parts.path if parts.path not in {"", "/", "/postgres"} else f"/{DATABASE}"
        place = parts.netloc
        if role is not None:
            place = f"{role}:{quote(self.keys.role(role), safe='')}@{place.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=place, path=database))

    def shared_environment(self) -> dict[str, str]:
        """What every service gets."""
        state = self.layout.state
        internal = {name: f"http://{LOOPBACK}:{self.ports.internal(name)}" for name in SERVICES}
        return {
            "PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "HOME": os.path.expanduser("~"),  # noqa: PTH111 - works without a passwd entry
            "MDC_HOST": LOOPBACK,
            "MDC_REDIS_URL": self.backing_url("redis"),
            "MDC_AMQP_URL": self.backing_url("rabbitmq"),
            "MDC_STATE_DIR": str(state),
            "MDC_OBJECTS_DIR": str(state / "objects"),
            "MDC_MAIL_DIR": str(state / "mail"),
            "MDC_ISSUER": self.url,
            "MDC_INTERNAL_URLS": json.dumps(internal),
            "MDC_TRUSTED_HOPS": "1",
            "MDC_CORS_ORIGINS": json.dumps(DEVELOPMENT_ORIGINS),
            "MDC_SERVICE_PUBLIC_KEYS": self.keys.service_public_keys(),
        } | {name: self.given[name] for name in OUTGOING if name in self.given}

    def own_environment(self, service: str) -> dict[str, str]:
        """What only this service gets."""
        own = {
            "PORT": str(self.ports.service(service)),
            "INTERNAL_PORT": str(self.ports.internal(service)),
            "DATABASE_URL": self.database_url(schema(service)),
            "SERVICE_KEY": self.keys.service_key(service),
        }
        if service == "auth-gateway":
            own["SIGNING_KEYS"] = self.keys["signing_keys"]
            own["REFRESH_KEY"] = self.keys["refresh_key"]
            own["DEMO_LOGIN"] = "true"
        return {variable(service, name): value for name, value in own.items()}

    def service_environment(self, service: str) -> dict[str, str]:
        """Complete environment of a service; settings given to `make up` win over ours."""
        prefixes = ("MDC_", variable(service, ""))
        given = {name: value for name, value in self.given.items() if name.startswith(prefixes)}
        return self.shared_environment() | self.own_environment(service) | given

    def migration_environment(self) -> dict[str, str]:
        """What provisioning and migrating need: the administrator's and all owners' URLs; services never see it."""
        urls = {"MDC_ADMIN_DATABASE_URL": self.database_url()}
        for service in SERVICES:
            urls |= self.own_environment(service)
            urls[variable(service, "OWNER_DATABASE_URL")] = self.database_url(f"{schema(service)}_owner")
        return self.shared_environment() | urls

    def tool_environment(self) -> dict[str, str]:
        """What `make seed`, `make demo` and the like get."""
        given = {name: value for name, value in self.given.items() if name.startswith("MDC_")}
        return self.migration_environment() | given

    def service_program(self, service: str) -> Program:
        return Program(service, (sys.executable, "-m", "common.serve", service), self.service_environment(service))

    def gateway_program(self) -> Program:
        folder = self.layout.data / "gateway"
        argv = (find_program("nginx", "nginx-light"), "-e", "stderr", "-p", str(folder), "-c", "nginx.conf")
        environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(folder)}
        return Program("gateway", (*argv, "-g", "daemon off;"), environment, stop_signal="QUIT")

    def groups(self) -> dict[str, list[Program]]:
        """All programs, in the order in which their groups start."""
        backing = {name: server.programs() for name, server in self.servers().items()}
        return backing | {SERVICE_GROUP: [*map(self.service_program, SERVICES)], "gateway": [self.gateway_program()]}
