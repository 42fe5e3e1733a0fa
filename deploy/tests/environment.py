"""The environment of a fleet on private servers, in which every schema is migrated: for tests and for chaos."""

import json
from pathlib import Path

import psycopg
from deploy.local import keys
from deploy.local.machine import free_ports
from deploy.local.servers import Servers
from deploy.provider import pointing

from common.migrations import Login, provision, upgrade
from common.revisions import SERVICES, schema_of
from common.settings import env_prefix


def migrated(backing: Servers, state: Path) -> dict[str, str]:
    """Every variable the services read, on free ports; makes the database, its roles and schemas."""
    (state / "objects").mkdir()
    made = keys.load(state / "secrets.json")
    database = backing.postgres_url.rsplit("/", 1)[0].split("@")[1] + "/mdcreator"
    _create_database(backing.postgres_url)
    free = iter(free_ports(2 * len(SERVICES) + 1))
    ports = {service: (next(free), next(free)) for service in SERVICES}
    values = {
        "MDC_ADMIN_DATABASE_URL": backing.postgres_url.rsplit("/", 1)[0] + "/mdcreator",
        "MDC_REDIS_URL": backing.redis_url,
        "MDC_AMQP_URL": backing.amqp_url,
        "MDC_STATE_DIR": str(state),
        "MDC_OBJECTS_DIR": str(state / "objects"),
        "MDC_MAIL_DIR": str(state / "mail"),
        "MDC_ISSUER": "http://127.0.0.1:8080",
        "MDC_INTERNAL_URLS": json.dumps({name: f"http://127.0.0.1:{ports[name][1]}" for name in SERVICES}),
        "MDC_SERVICE_PUBLIC_KEYS": made.service_public_keys(),
        "MDC_CORS_ORIGINS": '["http://localhost:5173"]',
        "AUTH_GATEWAY_SIGNING_KEYS": made["signing_keys"],
        "AUTH_GATEWAY_REFRESH_KEY": made["refresh_key"],
        "SYNC_CURSOR_KEYS": made["cursor_key"],
        "COLLAB_TICKET_KEYS": made["ticket_key"],
        "FILES_URL_KEYS": made["url_key"],
        "AI_PROXY_KEY_ENCRYPTION_KEYS": made["key_encryption_key"],
    }
    told = pointing.settings(f"http://127.0.0.1:{next(free)}", models=())
    values |= {f"{env_prefix('ai-proxy')}{name}": value for name, value in told.items()}
    for service in SERVICES:
        prefix, schema = env_prefix(service), schema_of(service)
        owner, worker = f"{schema}_owner", f"{schema}_worker"
        values |= {
            f"{prefix}PORT": str(ports[service][0]),
            f"{prefix}INTERNAL_PORT": str(ports[service][1]),
            f"{prefix}DATABASE_URL": f"postgresql://{schema}:{made.role(schema)}@{database}",
            f"{prefix}OWNER_DATABASE_URL": f"postgresql://{owner}:{made.role(owner)}@{database}",
            f"{prefix}WORKER_DATABASE_URL": f"postgresql://{worker}:{made.role(worker)}@{database}",
            f"{prefix}SERVICE_KEY": made.service_key(service),
        }
        provision(
            values["MDC_ADMIN_DATABASE_URL"],
            service,
            owner=Login(owner, made.role(owner)),
            runtime=Login(schema, made.role(schema)),
            worker=Login(worker, made.role(worker)),
        )
        upgrade(service, values[f"{prefix}OWNER_DATABASE_URL"])
    return values


def _create_database(superuser_url: str) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mdcreator")
