"""The outermost layer: whose address counts, which ids are taken over, what a bug tells the client."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from common import telemetry
from common.edge import HEAD, Edge, client_ip
from common.errors import NotFoundError, RateLimitedError

ROUTES = APIRouter()


@ROUTES.get("/bug")
async def bug():
    raise RuntimeError("secret detail")


@ROUTES.get("/echo")
async def echo():
    context = telemetry.current()
    return {"ip": context.client_ip, "trace": context.trace_id, "sampled": context.sampled}


@ROUTES.post("/size")
async def size(body: dict):
    return len(body)


@pytest.fixture
def client():
    app = FastAPI()
    app.include_router(ROUTES)
    app.add_middleware(Edge, body_limit=100, trusted_hops=1)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("10.0.0.9", 1)), base_url="http://test")


@pytest.mark.parametrize(
    ("header", "hops", "expected"),
    [
        (None, 1, "peer"),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 2.2.2.2", 2, "1.1.1.1"),
        ("1.1.1.1", 2, "peer"),
        ("6.6.6.6", 0, "peer"),
    ],
)
def test_client_ip_comes_from_trusted_hops_only(header, hops, expected):
    assert client_ip(header, ("peer", 1), hops) == expected


async def test_a_bug_is_a_500_problem_without_detail(client, caplog):
    answer = await client.get("/bug")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text
    assert caplog.records[0].fields["detail"] == "secret detail"


async def test_well_formed_trace_context_is_continued(client):
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client.get("/echo", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert (answer.json()["trace"], answer.json()["sampled"]) == (trace, True)


@pytest.mark.parametrize("header", ["garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-zz-1-01", ""])
async def test_malformed_trace_context_is_replaced_and_unsampled(client, header):
    answer = await client.get("/echo", headers={"traceparent": header})
    assert len(answer.json()["trace"]) == 32
    assert answer.json()["sampled"] is False


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("<script>", False)]
)
async def test_request_id_is_taken_over_only_if_harmless(client, sent, kept):
    answer = await client.get("/echo", headers={"X-Request-Id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept


async def test_security_headers_are_on_every_answer(client):
    for path in ("/echo", "/bug", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("length", ["101", "-1", "1e3", "abc"])
async def test_declared_length_over_the_limit_or_nonsense(client, length):
    answer = await client.post("/size", content=b"{}", headers={"Content-Length": length})
    assert answer.status_code == 413


def test_problem_members_and_headers_of_an_error():
    error = RateLimitedError(retry_after=0.2, policy="login")
    assert error.headers == {"Retry-After": "1"}
    assert error.problem("t")["policy"] == "login"
    assert list(NotFoundError().problem("t"))[:6] == ["type", "title", "status", "detail", "code", "trace_id"]


async def test_only_below_a_named_prefix_there_is_no_limit():
    app = FastAPI()
    app.include_router(ROUTES)
    app.include_router(ROUTES, prefix="/large")
    app.add_middleware(Edge, body_limit=100, trusted_hops=1, unlimited=("/large/",))
    body = {"x": "y" * 200}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.post("/large/size", json=body)).status_code == 200
        assert (await client.post("/size", json=body)).status_code == 413
        assert (await client.post("/large/size", content=b"{}", headers={"Content-Length": "x"})).status_code == 413


async def test_a_route_is_told_that_its_get_came_as_head():
    seen = []

    async def app(scope, _receive, send):
        seen.append((scope["method"], scope.get(HEAD, False)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    edge = Edge(app, body_limit=100, trusted_hops=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://test") as client:
        await client.head("/")
        await client.get("/")
    assert seen == [("GET", True), ("GET", False)]
