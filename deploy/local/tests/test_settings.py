"""Ports, secrets and environments."""

import pytest
from deploy import compose_env
from deploy.local import keys
from deploy.local.layout import Layout, Ports, SettingError
from deploy.local.programs import Fleet
from deploy.local.routes import SERVICES


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    return keys.load(tmp_path_factory.mktemp("keys") / "secrets.json")


@pytest.fixture
def fleet(tmp_path, secrets):
    (tmp_path / ".state").mkdir()
    return Fleet(Layout(tmp_path), Ports(), secrets, {"MDC_LOG_LEVEL": "DEBUG", "SYNC_X": "1", "OTHER": "1"})


@pytest.mark.parametrize("text", ["x", "-1", "0", "70000", "8 080", "\uff18\uff10"])
def test_a_port_that_is_none_is_named(text):
    with pytest.raises(SettingError, match="GATEWAY_PORT"):
        Ports.from_environment({"GATEWAY_PORT": text})


def test_all_ports_differ_and_stay_in_their_block(fleet):
    ports = [*fleet.listening()]
    assert len(ports) == 1 + 12 + 6
    assert all(18000 < port < 19000 for port in ports if port != 8080)
    moved = Ports.from_environment({"PORT_BASE": "20000"})
    assert (moved.service("documents"), moved.internal("documents"), moved.gateway) == (20002, 20102, 8080)


def test_a_gateway_port_among_our_own_is_refused():
    with pytest.raises(SettingError, match="GATEWAY_PORT=20001 lies in the block"):
        Ports.from_environment({"GATEWAY_PORT": "20001", "PORT_BASE": "20000"})


def test_secrets_are_made_once_completed_and_private(tmp_path):
    file = tmp_path / "secrets.json"
    first = keys.load(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys.load(file) == first
    file.write_text('{"redis": "mine"}')
    assert keys.load(file)["redis"] == "mine"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_its_own_secrets_only(fleet, secrets, service):
    told = fleet.service_environment(service)
    values = "\n".join(told.values())
    assert secrets["postgres"] not in values
    for other in SERVICES:
        schema = keys.schema(other)
        assert secrets.role(f"{schema}_owner") not in values
        if other != service:
            assert secrets.role(schema) not in values
            assert secrets.values["service_keys"][other]["d"] not in values
    assert (secrets["signing_keys"] in values) == (service == "auth-gateway")
    assert told["MDC_LOG_LEVEL"] == "DEBUG"
    assert ("SYNC_X" in told) == (service == "sync")
    assert "OTHER" not in told


def test_given_servers_replace_private_ones(tmp_path, secrets):
    (tmp_path / ".state").mkdir()
    given = {"POSTGRES_URL": "postgresql://me:pw@db:5433/postgres?sslmode=require", "AMQP_URL": "amqp://q/"}
    fleet = Fleet(Layout(tmp_path), Ports(), secrets, given)
    assert set(fleet.servers) == {"redis"}
    told = fleet.service_environment("sync")
    assert told["MDC_AMQP_URL"] == "amqp://q/"
    assert told["SYNC_DATABASE_URL"] == f"postgresql://sync:{secrets.role('sync')}@db:5433/mdcreator?sslmode=require"
    assert fleet.migration_environment()["MDC_ADMIN_DATABASE_URL"].startswith("postgresql://me:pw@db:5433/mdcreator?")


def test_compose_files_isolate_secrets(secrets):
    files = compose_env.files(secrets, "http://127.0.0.1:8080")
    assert set(files) == {"postgres", "redis", "rabbitmq", "migrate", *SERVICES}
    for service in SERVICES:
        assert "MDC_ADMIN_DATABASE_URL" not in files[service]
        assert not any("OWNER" in name for name in files[service])
    with pytest.raises(ValueError, match="single quote"):
        compose_env.quoted("it's")


def test_without_a_providers_key_the_ai_is_the_development_provider(fleet, secrets, tmp_path):
    told = fleet.service_environment("ai-proxy")
    assert f":{fleet.ports.provider}/v1" in told["AI_PROXY_PROVIDERS"]
    assert "dev-provider" in [program.name for program in fleet.groups()["front"]]
    assert "AI_PROXY_PROVIDERS" not in fleet.service_environment("documents")

    real = Fleet(Layout(tmp_path), Ports(), secrets, {"AI_PROXY_PROVIDER_KEYS": '{"openai": "sk-x"}'})
    assert "AI_PROXY_PROVIDERS" not in real.service_environment("ai-proxy")
    assert "dev-provider" not in [program.name for program in real.groups()["front"]]
    assert real.ports.provider not in real.listening()
