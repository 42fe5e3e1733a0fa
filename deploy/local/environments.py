"""Environment variables of the six services and the migration job, however they are run (see deploy/env.example)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from deploy.local.keys import Keys, schema, variable
from deploy.local.routes import SERVICES
from deploy.provider import pointing

DATABASE = "mdcreator"
DEVELOPMENT_ORIGINS = ("http://localhost:5173", "http://localhost:3000", "tauri://localhost")


@dataclass(frozen=True)
class Place:
    """Where everything is, as a service sees it; the URLs are the administrators'."""

    issuer: str
    host: str
    ports: Mapping[str, int]
    internal_ports: Mapping[str, int]
    internal_urls: Mapping[str, str]
    postgres_url: str
    redis_url: str
    amqp_url: str
    state_dir: str
    provider_url: str | None = None
    """Of the development provider, if the AI is to be that one."""


@dataclass(frozen=True)
class Environments:
    """What each process is told."""

    place: Place
    keys: Keys

    def database_url(self, role: str | None = None) -> str:
        """URL of our database as the given role, or as the administrator."""
        parts = urlsplit(self.place.postgres_url)
        database = parts.path if parts.path not in {"", "/", "/postgres"} else f"/{DATABASE}"
        place = parts.netloc
        if role is not None:
            place = f"{role}:{quote(self.keys.role(role), safe='')}@{place.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=place, path=database))

    def shared(self) -> dict[str, str]:
        """What every service gets."""
        place = self.place
        return {
            "MDC_HOST": place.host,
            "MDC_REDIS_URL": place.redis_url,
            "MDC_AMQP_URL": place.amqp_url,
            "MDC_STATE_DIR": place.state_dir,
            "MDC_OBJECTS_DIR": f"{place.state_dir}/objects",
            "MDC_MAIL_DIR": f"{place.state_dir}/mail",
            "MDC_ISSUER": place.issuer,
            "MDC_INTERNAL_URLS": json.dumps(dict(place.internal_urls)),
            "MDC_TRUSTED_HOPS": "1",
            "MDC_CORS_ORIGINS": json.dumps(DEVELOPMENT_ORIGINS),
            "MDC_SERVICE_PUBLIC_KEYS": self.keys.service_public_keys(),
        }

    def own(self, service: str) -> dict[str, str]:
        """What only this service gets."""
        own = {
            "PORT": str(self.place.ports[service]),
            "INTERNAL_PORT": str(self.place.internal_ports[service]),
            "DATABASE_URL": self.database_url(schema(service)),
            "WORKER_DATABASE_URL": self.database_url(f"{schema(service)}_worker"),
            "SERVICE_KEY": self.keys.service_key(service),
        }
        if service == "auth-gateway":
            own["SIGNING_KEYS"] = self.keys["signing_keys"]
            own["REFRESH_KEY"] = self.keys["refresh_key"]
        if service == "sync":
            own["CURSOR_KEYS"] = self.keys["cursor_key"]
        if service == "collab":
            own["TICKET_KEYS"] = self.keys["ticket_key"]
        if service == "files":
            own["URL_KEYS"] = self.keys["url_key"]
        if service == "ai-proxy":
            own["KEY_ENCRYPTION_KEYS"] = self.keys["key_encryption_key"]
            own |= pointing.settings(self.place.provider_url) if self.place.provider_url else {}
        return {variable(service, name): value for name, value in own.items()}

    def migration(self) -> dict[str, str]:
        """What provisioning and migrating need: the administrator's and all roles' URLs. No service sees these."""
        urls = {"MDC_ADMIN_DATABASE_URL": self.database_url()}
        for service in SERVICES:
            urls[variable(service, "DATABASE_URL")] = self.database_url(schema(service))
            urls[variable(service, "WORKER_DATABASE_URL")] = self.database_url(f"{schema(service)}_worker")
            urls[variable(service, "OWNER_DATABASE_URL")] = self.database_url(f"{schema(service)}_owner")
        return urls
