"""The way to a provider: what left, what was waited for, and what nobody reads of a key."""

import asyncio
import time

import aiohttp
import orjson
import pytest
from aiohttp import web

from ai_proxy.errors import ProviderTimeoutError, ProviderUnreachableError
from ai_proxy.providers import line as module
from ai_proxy.providers.line import Line, Patience, Target
from ai_proxy.providers.masking import masked

PATIENCE = Patience(connect=5, first_byte=5, idle=5, total=30, attempts=1)


@pytest.fixture
async def server():
    """Starts a provider; gives its address."""
    runners = []

    async def start(handler):
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def line():
    made = Line(PATIENCE)
    yield made
    await made.close()


def patient(line, **seconds):
    line._patience = Patience(**{**{name: getattr(PATIENCE, name) for name in PATIENCE.__slots__}, **seconds})


async def test_a_body_of_megabytes_arrives_again_when_it_is_asked_again(server, line):
    patient(line, attempts=2)
    sizes = []

    async def refuse_once(request):
        sizes.append(len(await request.read()))
        return web.Response(status=200 if len(sizes) > 1 else 503, headers={"Retry-After": "0"})

    target = Target("p", "POST", await server(refuse_once), {}, b"x" * (3 * 1024 * 1024))
    async with line.call() as call:
        await call.open(target)
        assert call.status == 200
    assert sizes == [3 * 1024 * 1024] * 2


@pytest.mark.parametrize("told", ["²", "1.5.5", ".", "-1", "1e9"])
async def test_a_pause_that_is_no_number_is_ours_to_choose(server, line, told):
    patient(line, attempts=2)
    asked = []

    async def refuse_once(_request):
        asked.append(1)
        return web.Response(status=200 if len(asked) > 1 else 429, headers={"Retry-After": told})

    async with line.call() as call:
        await call.open(Target("p", "POST", await server(refuse_once), {}, b"{}"))
        assert (call.status, len(asked)) == (200, 2)


async def test_a_call_that_found_no_connection_has_not_asked(line, monkeypatch):
    async def request(*_args, **_fields):
        raise aiohttp.ConnectionTimeoutError

    monkeypatch.setattr(line.session, "_request", request)
    async with line.call() as call:
        with pytest.raises(ProviderUnreachableError):
            await call.open(Target("p", "POST", "http://127.0.0.1:9/", {}, b"{}"))
        assert not call.asked


async def test_a_call_that_left_once_has_asked(line, monkeypatch):
    patient(line, attempts=2)
    errors = iter([aiohttp.ServerDisconnectedError(), aiohttp.ClientConnectorError(None, OSError())])

    async def request(*_args, **_fields):
        raise next(errors)

    monkeypatch.setattr(line.session, "_request", request)
    async with line.call() as call:
        with pytest.raises(ProviderUnreachableError):
            await call.open(Target("p", "POST", "http://127.0.0.1:9/", {}, b"{}"))
        assert call.asked


async def test_a_provider_that_never_begins_is_not_asked_for_a_while(server, line):
    patient(line, first_byte=0.05)

    async def silent(_request):
        await asyncio.Event().wait()

    target = Target("p", "POST", await server(silent), {}, b"{}")
    for _ in range(5):
        async with line.call() as call:
            with pytest.raises(ProviderTimeoutError):
                await call.open(target)
    async with line.call() as call:
        with pytest.raises(ProviderUnreachableError):
            await call.open(target)


async def test_what_fails_for_one_model_or_key_stops_no_other(server, line):
    asked = []

    async def fail(request):
        asked.append(request.headers["x-who"])
        return web.Response(status=500)

    url = await server(fail)

    async def ask(model, key_owner=None):
        async with line.call() as call:
            target = Target("p", "POST", url, {"X-Who": f"{model} {key_owner}"}, b"{}", model, key_owner)
            await call.open(target)
            return call.status

    for model, key_owner in (("a", None), ("a", "user:1"), ("a", "workspace:1"), ("b", None)):
        for _ in range(5):
            assert await ask(model, key_owner) == 500
        with pytest.raises(ProviderUnreachableError):
            await ask(model, key_owner)
    assert len(asked) == 20


async def test_who_asks_for_anything_fills_no_memory(line, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BREAKERS", 3)
    targets = [Target("p", "GET", "http://x", {}, None, f"m{n}") for n in range(5)]
    first = line.breaker(targets[0])
    for target in targets:
        line.breaker(target)
        assert line.breaker(targets[0]) is first, "used again, it stays"
    assert len(line._breakers) == 3


async def test_the_longest_time_holds_while_bytes_lie_ready(server, line):
    async def plenty(_request):
        return web.Response(body=b"x" * 1_000_000)

    async with line.call() as call:
        await call.open(Target("p", "POST", await server(plenty), {}, b"{}"))
        call._deadline = time.monotonic() - 1
        call._response.content.feed_data(b"some")
        with pytest.raises(ProviderTimeoutError):
            await call.read()


def test_what_is_sent_shows_no_key():
    shown = repr(Target("p", "POST", "http://x", {"Authorization": "Bearer secret-key"}, b"what is said"))
    assert "secret-key" not in shown
    assert "what is said" not in shown


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Incorrect API key provided: sk-proj-********abcd.", "Incorrect API key provided: ***."),
        ("key our+own/key123 is wrong", "key *** is wrong"),
        ("Rate limit in organization org-A1b2C3d4E5f6G7h8I9j0K1l2 on it", "Rate limit in organization *** on it"),
        ("organization 01234567-89ab-cdef-0123-456789abcdef is over", "organization *** is over"),
        ('{"organization_id":"01234567-89ab-cdef-0123-456789abcdef"}', '{"organization_id":"***"}'),
        ("a user-defined function, an org-wide one", "a user-defined function, an org-wide one"),
        ("request 01234567-89ab-cdef-0123-456789abcdef", "request 01234567-89ab-cdef-0123-456789abcdef"),
    ],
)  # fmt: skip
def test_keys_and_accounts_are_masked(told, shown):
    assert masked(told.encode(), "our+own/key123").decode() == shown


def test_a_key_is_found_as_json_has_it_and_a_short_one_is_no_key():
    assert masked(orjson.dumps({"message": 'your "odd"\\key'}), '"odd"\\key') == b'{"message":"your ***"}'
    assert masked(b"a b c", "b") == b"a b c"


async def test_a_refusal_before_nobody_was_reached_costs_nothing(server, line, monkeypatch):
    patient(line, attempts=2)

    async def refuse(_request):
        return web.Response(status=500, headers={"Retry-After": "0"})

    target = Target("p", "POST", await server(refuse), {}, b"{}")
    breaker = line.breaker(target)
    failed = breaker.failed
    monkeypatch.setattr(breaker, "failed", lambda: [failed() for _ in range(5)])
    async with line.call() as call:
        with pytest.raises(ProviderUnreachableError):
            await call.open(target)
        assert not call.asked
