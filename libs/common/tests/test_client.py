"""Internal calls: signed, retried when reading, refused while the circuit is open."""

import json
from uuid import uuid4

import pytest
from aiohttp import web
from joserfc.jwk import OKPKey

from common.auth import ServiceIdentity, TokenInvalidError
from common.client import Breaker, InternalClient, PeerNotFoundError, PeerUnavailableError


def identities():
    keys = {name: OKPKey.generate_key("Ed25519", {"kid": name}) for name in ("documents", "auth-gateway")}
    public = {"keys": [key.as_dict(private=False) for key in keys.values()]}
    return {name: ServiceIdentity(name, json.dumps(key.as_dict(private=True)), public) for name, key in keys.items()}


@pytest.fixture
async def peer():
    """A peer whose next answers a test sets; it notes what it was asked."""
    answers, asked = [], []

    async def handle(request):
        asked.append(request)
        status, body = answers.pop(0)
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    known = identities()
    client = InternalClient(known["documents"], {"auth-gateway": f"http://127.0.0.1:{port}"})
    yield client, answers, asked, known["auth-gateway"]
    await client.close()
    await runner.cleanup()


async def test_the_callee_can_tell_who_calls(peer):
    client, answers, asked, callee = peer
    answers.append((200, {"a": 1}))
    assert await client.get("auth-gateway", "/internal/x", {"q": "1"}, acting_user=uuid4()) == {"a": 1}
    assertion = asked[0].headers["Authorization"].removeprefix("Bearer ")
    assert callee.verify(assertion) == "documents"


async def test_reads_are_retried_and_404_is_an_answer(peer):
    client, answers, asked, _ = peer
    answers += [(500, {}), (503, {}), (200, {"ok": True}), (404, {})]
    assert await client.get("auth-gateway", "/internal/x") == {"ok": True}
    with pytest.raises(PeerNotFoundError):
        await client.get("auth-gateway", "/internal/x")
    assert len(asked) == 4


async def test_a_peer_that_keeps_failing_is_left_alone_for_a_while(peer):
    client, answers, asked, _ = peer
    answers += [(500, {})] * 10
    for _ in range(4):
        with pytest.raises(PeerUnavailableError):
            await client.get("auth-gateway", "/internal/x")
    assert len(asked) <= 6


def test_the_circuit_closes_after_a_good_trial(monkeypatch):
    now = 100.0
    monkeypatch.setattr("common.client.time.monotonic", lambda: now)
    breaker = Breaker()
    for _ in range(5):
        breaker.failed()
    with pytest.raises(PeerUnavailableError):
        breaker.check("x")
    now = 103.0
    breaker.check("x")
    with pytest.raises(PeerUnavailableError):
        breaker.check("x")
    breaker.succeeded()
    breaker.check("x")


def test_assertions_are_for_one_audience_and_expire(monkeypatch):
    known = identities()
    assertion = known["documents"].assertion("auth-gateway")
    with pytest.raises(TokenInvalidError):
        known["documents"].verify(assertion)
    foreign = identities()["documents"].assertion("auth-gateway")
    for bad in (foreign, assertion[:-4] + "AAAA", "x", ""):
        with pytest.raises(TokenInvalidError):
            known["auth-gateway"].verify(bad)
    assert known["auth-gateway"].verify(assertion) == "documents"


async def test_not_found_is_a_sign_of_life(peer):
    client, answers, _, _ = peer
    answers += [(500, {})] * 4 + [(404, {})] * 6
    with pytest.raises(PeerUnavailableError):
        await client.get("auth-gateway", "/internal/x")
    for _ in range(6):
        with pytest.raises((PeerNotFoundError, PeerUnavailableError)):
            await client.get("auth-gateway", "/internal/x")
    answers += [(500, {})] * 2 + [(200, {})]
    assert await client.get("auth-gateway", "/internal/x") == {}
