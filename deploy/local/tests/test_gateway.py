"""The rendered configuration in a real nginx, in front of a service that tells what it got."""

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from deploy.local import gateway, routes
from deploy.local.machine import find_program, free_ports
from deploy.local.routes import SERVICES

from ai_proxy.domain.wires import ANTHROPIC, OPENAI

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DOWN = "files"


class Upstream:
    """One server in the place of all services but `files`, where nobody listens."""

    def __init__(self):
        self.seen = []
        self.hang_up = False
        self.first_bytes = asyncio.Event()

    async def answer(self, request):
        body = await request.read()
        self.seen.append(f"{request.method} {request.raw_path}")
        if self.hang_up:
            request.transport.abort()
        return web.json_response({"path": request.raw_path, "headers": dict(request.headers), "size": len(body)})

    async def take(self, request):
        await request.content.readany()
        self.first_bytes.set()
        return web.json_response(len(await request.read()))

    async def stream(self, request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(2):
            await response.write(b"data: x\n\n")
            await asyncio.sleep(0.3)
        return response

    async def socket(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"echo {message.data}")
        return socket


@pytest.fixture(scope="module")
async def upstream():
    made = Upstream()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_get("/v1/sync/stream", made.stream)
    app.router.add_post("/v1/ai/take", made.take)
    app.router.add_get("/v1/collab/ws/{document}", made.socket)
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port, nobody = free_ports(2)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.addresses = {name: f"127.0.0.1:{nobody if name == DOWN else port}" for name in SERVICES}
    yield made
    await runner.cleanup()


@pytest.fixture(scope="module")
async def proxy(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate way #1")
    for name in ("logs", "tmp"):
        (folder / name).mkdir()
    port = free_ports(1)[0]
    described = gateway.Gateway(
        listen=f"127.0.0.1:{port}",
        upstreams=upstream.addresses,
        user="root" if os.geteuid() == 0 else None,
        access_log="logs/gateway-access.log requests",
        trace_sample_percent=100,
        workers=1,
    )
    table = routes.load()
    gateway.write_docs(folder / "html", table)
    (folder / "nginx.conf").write_text(gateway.render(described, table))
    nginx = find_program("nginx", "nginx-light")
    process = subprocess.Popen([nginx, "-e", "stderr", "-p", folder, "-c", "nginx.conf", "-g", "daemon off;"])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get("/docs/"):
                    break
            await asyncio.sleep(0.05)
        session.folder, session.port = folder, port
        yield session
    process.terminate()
    process.wait()


async def ask(proxy, method, path, **more):
    async with proxy.request(method, path, allow_redirects=False, **more) as answer:
        return answer, await answer.read()


async def problem(proxy, method, path, status, code, **more):
    answer, body = await ask(proxy, method, path, **more)
    assert answer.status == status, body
    assert answer.content_type == "application/problem+json"
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, code)
    assert re.fullmatch("[0-9a-f]{32}", document["trace_id"])
    return answer


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/version", "/internal/events", "/v1/documentsX", "/v1/../health", "/docs/x", "/_gateway/x"],
)
async def test_what_has_no_route_is_not_found(proxy, path):
    await problem(proxy, "GET", path, 404, "route_not_found")


async def test_requests_reach_the_service_as_they_were(proxy):
    answer, body = await ask(
        proxy,
        "GET",
        "/v1/documents/a%2Fb//c?x=%20",
        headers={
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Host": "evil",
            "Forwarded": "for=evil",
            "X-Sendfile-Type": "X-Accel-Redirect",
            "X-Request-Id": "abc-1",
            "traceparent": TRACE,
            "tracestate": "v=1",
        },
    )
    assert answer.status == 200
    got = json.loads(body)
    headers = {name.lower(): value for name, value in got["headers"].items()}
    assert got["path"] == "/v1/documents/a%2Fb//c?x=%20"
    assert headers["host"] == f"127.0.0.1:{proxy.port}"
    assert headers["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"
    assert (headers["x-request-id"], headers["traceparent"], headers["tracestate"]) == ("abc-1", TRACE, "v=1")
    assert not {"forwarded", "x-forwarded-host", "x-sendfile-type"} & set(headers)


@pytest.mark.parametrize(
    "trace", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-" + "A" * 32 + "-b7ad6b7169203331-01"]
)
async def test_identity_that_is_not_well_formed_is_replaced(proxy, trace):
    given = {"traceparent": trace, "tracestate": "v=1", "X-Request-Id": "two words"}
    _, body = await ask(proxy, "GET", "/v1/tags", headers=given)
    headers = {name.lower(): value for name, value in json.loads(body)["headers"].items()}
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers["traceparent"])
    assert headers["traceparent"][3:35] == headers["x-request-id"]
    assert "tracestate" not in headers


async def test_body_limits(proxy):
    answer, _ = await ask(proxy, "POST", "/v1/auth/login", data=bytes(1 << 20))
    assert answer.status == 200
    await problem(proxy, "POST", "/v1/auth/login", 413, "body_too_large", data=io.BytesIO(bytes((1 << 20) + 1)))

    async def chunks():
        for _ in range(11):
            yield bytes(1 << 20)

    await problem(proxy, "POST", "/v1/documents", 413, "body_too_large", data=chunks())
    await problem(proxy, "POST", "/v1/ai/assist", 413, "body_too_large", data=chunks())


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=lambda wire: wire.name)
async def test_official_clients_get_errors_as_they_know_them(proxy, upstream, wire):
    async def chunks():
        for _ in range(11):
            yield bytes(1 << 20)

    path = f"/v1/ai/{wire.name}"
    large = io.BytesIO(bytes((10 << 20) + 1))
    detail = {one.code: one.detail for one in gateway.PROBLEMS}
    for method, below, code, status, sent in (
        ("POST", "/chat/completions?x=1", "body_too_large", 413, large),
        ("POST", "/v1/messages", "body_too_large", 413, chunks()),
        ("POST", "", "body_too_large", 413, chunks()),
        ("GET", "/models", "service_unavailable", 503, None),
    ):
        upstream.hang_up = status == 503
        answer, body = await ask(proxy, method, path + below, data=sent)
        upstream.hang_up = False
        assert (answer.status, answer.content_type) == (status, "application/json"), body
        error = json.loads(body)
        trace = error.get("request_id")
        assert error == wire.error(status, code, detail[code], trace)
        assert wire is OPENAI or re.fullmatch("[0-9a-f]{32}", trace)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Retry-After"] == "2"
    await problem(proxy, "POST", f"{path}x", 413, "body_too_large", data=chunks())


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=lambda wire: wire.name)
def test_every_answer_of_the_gateway_is_what_ai_proxy_would_say(wire):
    for one in gateway.PROBLEMS:
        assert gateway._body(one, wire.name) == wire.error(one.status, one.code, one.detail, "$mdc_trace_id")


async def test_a_web_app_elsewhere_can_read_the_gateways_own_answers(proxy):
    """A browser shows a script nothing of an answer without these: "too large" would look like "no network"."""
    for method, path, status, code in (
        ("GET", "/v1/nope", 404, "route_not_found"),
        ("GET", "/v1/files", 503, "service_unavailable"),
    ):
        answer = await problem(proxy, method, path, status, code)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


async def test_methods_nobody_has_are_answered_here(proxy):
    await problem(proxy, "FOO", "/v1/documents", 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_service_that_is_down(proxy, method):
    answer = await problem(proxy, method, "/v1/files", 503, "service_unavailable")
    assert answer.headers["Retry-After"] == "2"


async def test_broken_http_is_answered_in_the_same_form(proxy):
    for request, status in ((b"NONSENSE\r\n\r\n", b"400"), (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", b"414")):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request)
        answer = await reader.read()
        assert answer.split()[1] == status
        assert b"application/problem+json" in answer
        writer.close()
        await writer.wait_closed()


async def test_only_idempotent_requests_are_sent_again(proxy, upstream):
    for method in ("POST", "PATCH"):
        await ask(proxy, "GET", "/v1/tags")  # leaves a connection to be used again
        upstream.hang_up, upstream.seen = True, []
        await problem(proxy, method, "/v1/tags", 503, "service_unavailable")
        upstream.hang_up = False
        assert upstream.seen == [f"{method} /v1/tags"]


async def test_streaming_routes_pass_bytes_on_at_once(proxy):
    begun = time.monotonic()
    async with proxy.get("/v1/sync/stream") as answer:
        assert await answer.content.readline() == b"data: x\n"
        assert time.monotonic() - begun < 0.25
    async with proxy.ws_connect("/v1/collab/ws/1?ticket=secret") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "echo hello"


async def test_streaming_routes_pass_a_body_on_while_it_comes(proxy, upstream):
    async def body():
        yield b"first"
        await asyncio.wait_for(upstream.first_bytes.wait(), 5)
        yield b"second"

    answer, _ = await ask(proxy, "POST", "/v1/ai/take", data=body())
    assert answer.status == 200


async def test_only_streaming_routes_upgrade(proxy):
    _, body = await ask(proxy, "GET", "/v1/tags", headers={"Connection": "upgrade", "Upgrade": "websocket"})
    assert "upgrade" not in {name.lower() for name in json.loads(body)["headers"]}


async def test_docs(proxy):
    answer, body = await ask(proxy, "GET", "/docs/")
    assert answer.status == 200
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert b"http" not in body.replace(b"<!doctype html>", b"")
    _, script = await ask(proxy, "GET", "/docs/docs.js")
    assert all(routes.openapi_path(service).encode() in script for service in SERVICES)
    for asset in re.findall(rb'(?:src|href)="([^"]+)"', body):
        answer, _ = await ask(proxy, "GET", f"/docs/{asset.decode()}")
        assert answer.status == 200, asset
    assert (await ask(proxy, "GET", "/"))[0].headers["Location"] == "/docs/"
    await problem(proxy, "POST", "/docs/", 405, "method_not_allowed")


async def test_the_log_has_no_secrets(proxy):
    await ask(proxy, "GET", "/v1/collab/presence?ticket=SECRET")
    await ask(proxy, "POST", "/v1/invitations/SECRET/accept?x=SECRET")
    await ask(proxy, "GET", "/v1/shares/public/SECRET/files/7")
    file = Path(proxy.folder / "logs" / "gateway-access.log")
    for _ in range(100):  # a line is written after the answer was sent
        log = file.read_text()
        if "/files/7" in log:
            break
        await asyncio.sleep(0.02)
    assert "SECRET" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    shown = {(line["method"], line["path"], line["service"]) for line in lines}
    assert ("POST", "/v1/invitations/***/accept", "auth-gateway") in shown
    assert ("GET", "/v1/shares/public/***/files/7", "documents") in shown


@pytest.mark.parametrize(("percent", "rows"), [(0, ["* 00;"]), (100, ["* 01;"]), (12.5, ["12.50% 01;", "* 00;"])])
def test_sampling(percent, rows):
    described = gateway.Gateway(listen="127.0.0.1:1", upstreams={}, trace_sample_percent=percent)
    text = gateway.render(described, routes.load())
    block = re.findall(r"mdc_sampled \{\n(.*?)\}", text, re.DOTALL)[0]
    assert [line.strip() for line in block.strip().splitlines()] == rows


def test_no_placeholder_is_left():
    text = gateway.render(gateway.Gateway(listen="x", upstreams={}, resolver="127.0.0.11"), routes.load())
    assert "{{" not in text
