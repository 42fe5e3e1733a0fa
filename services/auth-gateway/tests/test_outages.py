"""Without Redis everything goes on; without PostgreSQL the answer is 503 until it is back, without a restart."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import psycopg
import pytest

from common.database import DatabaseUnavailableError
from common.revocations import REDIS_KEY


async def until_ready(fleet):
    """Wait until every service is ready again."""
    async with httpx.AsyncClient() as http, asyncio.timeout(40):
        for service in fleet.services.values():
            while (await http.get(f"{service.url}/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)


@pytest.fixture
def without(backing, fleet):
    """A block during which one of the servers is dead."""

    @asynccontextmanager
    async def outage(name):
        await until_ready(fleet)
        await asyncio.to_thread(backing[name].kill)
        try:
            yield
        finally:
            await asyncio.to_thread(backing[name].start)
            await until_ready(fleet)

    return outage


async def readiness(fleet):
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.get(f"{fleet['auth-gateway'].url}/health/ready")
        return answer.status_code, answer.json()


async def test_redis_down(without, fleet, sign_up, visitor, people, refused):
    ada, bob, eve = await sign_up(), await people.person("Bob"), await people.person("Eve")
    workspace = await people.workspace(bob)
    await people.join(workspace, eve, "editor")
    document = await people.document(bob, workspace)
    path = f"/v1/documents/{document['id']}"
    assert (await eve.http.get(path)).status_code == 200
    async with without("redis"):
        status, checks = await readiness(fleet)
        assert (status, checks["redis"], checks["database"]) == (503, "unreachable", "ok")
        tokens = await ada.login()
        refreshed = await visitor().post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        assert (await bob.http.get("/v1/users/me")).status_code == 200
        assert (await bob.http.get(path)).status_code == 200
        saved = await bob.http.put(
            f"{path}/content", content="x", headers={"If-Match": '"v1"', "Content-Type": "text/markdown"}
        )
        assert saved.status_code == 200
        guessing = visitor()
        limited = [
            await guessing.post("/v1/auth/login", json={"email": bob.email, "password": "violet tundra"})
            for _ in range(11)
        ]
        assert [answer.status_code for answer in limited] == [401] * 10 + [429]  # by this process alone

        # What is revoked now cannot be published; the process that does it knows, others ask within 30 seconds.
        assert (await bob.http.delete(f"/v1/workspaces/{workspace}/members/{eve.id}")).status_code == 204
        logout = await visitor().post("/v1/auth/logout", json={"refresh_token": refreshed.json()["refresh_token"]})
        assert logout.status_code == 204
        authorization = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
        refused(await ada.http.get("/v1/users/me", headers=authorization), 401, "session_revoked")
        assert await fleet["documents"].app.state.platform.feed.reload()
        refused(await eve.http.get(path), 404, "document_not_found")
        mine = await ada.http.get(f"/v1/documents?workspace_id={workspace}", headers=authorization)
        refused(mine, 401, "session_revoked")
        assert (await bob.http.get(path)).status_code == 200

    # Back again: what is revoked now is felt within a second.
    redis = fleet["documents"].app.state.platform.redis
    async with asyncio.timeout(5):
        while not (await redis.pubsub_numsub(REDIS_KEY))[0][1] >= 2:
            await asyncio.sleep(0.05)
    assert (await bob.http.delete(f"/v1/auth/sessions/{bob.session_id}")).status_code == 204
    async with asyncio.timeout(1):
        while (await bob.http.get(path)).status_code == 200:
            await asyncio.sleep(0.01)


async def test_a_connection_lost_halfway_through_a_request_is_an_outage_too(fleet, environment):
    database = fleet["auth-gateway"].app.state.platform.database
    with pytest.raises(DatabaseUnavailableError):
        async with database.transaction() as transaction:
            row = await transaction.one("SELECT pg_backend_pid() AS pid")
            with psycopg.connect(environment["MDC_ADMIN_DATABASE_URL"], autocommit=True) as superuser:
                superuser.execute("SELECT pg_terminate_backend(%s, 5000)", (row["pid"],))
            await transaction.act_as(uuid4())


async def test_postgres_down(without, environment, fleet, sign_up, visitor, people, refused):
    ada, bob = await sign_up(), await people.person("Bob")
    tokens = await ada.login()
    workspace = await people.workspace(bob)
    assert (await bob.http.get(f"/v1/documents?workspace_id={workspace}")).status_code == 200
    # The tests' server commits without waiting for its disk, which a crash would show.
    async with await psycopg.AsyncConnection.connect(
        environment["MDC_ADMIN_DATABASE_URL"], autocommit=True
    ) as superuser:
        await superuser.execute("CHECKPOINT")
    async with without("postgres"):
        (status, checks), *answers = await asyncio.gather(
            readiness(fleet),
            bob.http.get("/v1/users/me"),
            bob.http.get(f"/v1/documents?workspace_id={workspace}"),
            bob.http.post("/v1/workspaces", json={"name": "x"}),
            visitor().post("/v1/auth/login", json={"email": ada.email, "password": ada.password}),
            visitor().post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}),
            visitor().post(
                "/v1/auth/register",
                json={"email": "new@example.org", "password": ada.password, "display_name": "New"},
            ),
        )
        for answer in answers:
            refused(answer, 503, "database_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
        for public in ("/.well-known/jwks.json", "/.well-known/openid-configuration"):
            assert (await visitor().get(public)).status_code == 200
        refused(await people.client("garbage").get("/v1/users/me"), 401, "token_invalid")
        assert (status, checks["database"]) == (503, "unreachable")

    assert [(item["name"]) for item in (await bob.http.get("/v1/workspaces")).json()["items"]] == ["Notes"]
    refreshed = await visitor().post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 200
    assert (await ada.login())["access_token"]
    assert (await bob.http.get(f"/v1/documents?workspace_id={workspace}")).status_code == 200
