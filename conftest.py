"""Private PostgreSQL, Redis and RabbitMQ for the test run, and the environment services read in it."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from deploy.local import keys, servers

from common.migrations import SERVICES, Login, provision, schema_of, upgrade
from common.settings import env_prefix

pytest_plugins = ["common.testing.plugin"]


@pytest.fixture(scope="session")
def backing() -> Iterator[servers.Servers]:
    """The servers; `backing["redis"].kill()` is what a test of a broken dependency needs."""
    with servers.start() as running:
        yield running


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def environment(backing: servers.Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Every variable of a fleet on free ports, set for the whole run; schemas migrated."""
    state = tmp_path_factory.mktemp("state")
    (state / "objects").mkdir()
    made = keys.load(state / "secrets.json")
    database = backing.postgres_url.rsplit("/", 1)[0].split("@")[1] + "/mdcreator"
    _create_database(backing.postgres_url)
    ports = {service: (_free_port(), _free_port()) for service in SERVICES}
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
    }
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
    before = dict(os.environ)
    os.environ.update(values)
    yield values
    os.environ.clear()
    os.environ.update(before)


def _create_database(superuser_url: str) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mdcreator")
