"""Who comes in, for what place; what of a request goes on to the provider, and what never does."""

import asyncio
import json
from urllib.parse import urlsplit

import orjson
import psycopg
import pytest
from deploy.provider.behaviour import Behaviour
from test_native import CHAT, MESSAGES, VERSION, chat, usage_of

from common.identifiers import uuid7

OPENAI = "/v1/ai/openai/"


@pytest.fixture
async def bob(people, workspace):
    bob = await people.person("Bob")
    await people.join(workspace, bob, "viewer")
    return bob


async def raw(fleet, head, body=b""):
    """Send bytes as they are; status and body of the answer."""
    place = urlsplit(fleet["ai-proxy"].url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(head + b"\r\n\r\n" + body)
        data = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    return int(data.split(b" ", 2)[1]), data.partition(b"\r\n\r\n")[2]


async def test_without_a_token_in_the_provider_s_shape(people, provider):
    client = people.client()
    answer = await client.post(CHAT, json=chat())
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    answer = await client.post(MESSAGES, json=chat(), headers={"x-api-key": "sk-ant-mine"})
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]["type"]) == (
        401, "error", "authentication_error",
    )  # fmt: skip
    assert provider.record.count == 0


async def test_the_token_where_anthropic_s_client_puts_its_key(people, ada, workspace, provider):
    answer = await people.client().post(MESSAGES, json=chat(), headers={"x-api-key": ada.token, **VERSION})
    assert answer.status_code == 200, answer.text
    headers = provider.record.requests[-1].headers
    assert headers["x-api-key"] == "dev-anthropic-key"
    assert "authorization" not in headers


async def test_only_what_is_listed_goes_on(ada, workspace, provider):
    sent = {
        "Cookie": "a=b", "X-Forwarded-Host": "evil.example", "Openai-Organization": "org-1", "Host": "evil.example",
        "X-Stainless-OS": "Linux", "Traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "User-Agent": "me",
        "Proxy-Authorization": "x", "Forwarded": "for=1.2.3.4", "X-Workspace-Id": workspace, "Expect": "",
    }  # fmt: skip
    body = chat(user="ada@example.org", safety_identifier="ada", metadata={"who": "ada"}, store=True)
    answer = await ada.http.post(CHAT, json=body, headers=sent)
    assert answer.status_code == 200, answer.text
    received = provider.record.requests[-1]
    assert set(received.headers) == {
        "host", "user-agent", "accept", "accept-encoding", "authorization", "content-type", "content-length",
    }  # fmt: skip
    assert received.headers["host"] == urlsplit(provider.url).netloc
    assert not {"user", "safety_identifier", "metadata", "store"} & received.body.keys()
    answer = await ada.http.post(MESSAGES + "?beta=true&key=1", json=chat(metadata={"user_id": "ada"}), headers=VERSION)
    received = provider.record.requests[-1]
    assert (received.query, "metadata" in received.body, received.headers["anthropic-version"]) == (
        "beta=true", False, "2023-06-01",
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "files", "chat/completions/", "chat/completions/../../files", "..%2ffiles", "%2e%2e/files", "models/..",
        "models/a/b", "models/%2e%2e", "models/a%2f..%2ffiles", "/chat/completions", "http://evil.example/v1/models",
        "models/x?y/z%0d%0aA: b", "threads", "fine_tuning/jobs", "v1/v1/chat/completions", "batches", "audio/speech",
        "organization/admin_api_keys",
    ],
)  # fmt: skip
async def test_path_tricks_are_refused(fleet, ada, workspace, provider, path):
    for method in ("GET", "POST", "DELETE"):
        head = f"{method} {OPENAI}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ada.token}"
        status, body = await raw(fleet, head.encode() + b"\r\nContent-Length: 2", b"{}")
        assert status in (400, 404, 405), (method, path)
        if body.startswith(b"{"):
            assert "error" in json.loads(body) or "code" in json.loads(body)
    assert [one for one in provider.record.requests if one.path != "/v1/models/x"] == []


async def test_smuggled_requests_are_one_or_none(fleet, ada, workspace, provider):
    body = orjson.dumps(chat())
    token = f"Authorization: Bearer {ada.token}".encode()
    hidden = b"0\r\n\r\nPOST /v1/files HTTP/1.1\r\nHost: x\r\n\r\n"
    status, _ = await raw(
        fleet,
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + token
        + b"\r\nContent-Length: %d\r\nTransfer-Encoding: chunked" % len(hidden),
        hidden,
    )  # fmt: skip
    assert status in (400, 401, 404, 411)
    status, _ = await raw(
        fleet,
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + token
        + b"\r\nanthropic-version: a\x0bX-Evil: 1\r\nContent-Length: %d" % len(body),
        body,
    )  # fmt: skip
    assert all("x-evil" not in one.headers for one in provider.record.requests)
    doubled = b'{"model":"dev-small","max_tokens":5,"messages":[],"model":"dev-large","max_tokens":7}'
    await ada.http.post(CHAT, content=doubled, headers={"Content-Type": "application/json"})
    assert provider.record.requests[-1].body == {"model": "dev-large", "max_tokens": 7, "messages": []}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"tools": [{"type": "web_search"}]}),
        (CHAT, {"service_tier": "priority"}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}),
        (f"{OPENAI}responses", {"background": True, "input": "x"}),
        (f"{OPENAI}responses", {"previous_response_id": "resp_1", "input": "x"}),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        (MESSAGES, {"mcp_servers": [{"url": "http://evil.example"}]}),
        (MESSAGES, {"speed": "fast"}),
    ],
)
async def test_what_cannot_be_counted_or_is_shared_is_refused(ada, workspace, provider, path, fields):
    answer = await ada.http.post(path, json=chat(**fields), headers=VERSION)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert provider.record.count == 0


async def test_bodies_nested_deeply_are_refused(ada, workspace, provider):
    for depth in (120, 200, 400, 600, 5_000):
        content = b'[{"type":"x","content":' * depth + b'"y"' + b"}]" * depth
        body = b'{"model":"dev-small","max_tokens":5,"messages":[{"role":"user","content":' + content + b"}]}"
        for path in (CHAT, MESSAGES, f"{MESSAGES}/count_tokens", f"{OPENAI}responses"):
            answer = await ada.http.post(path, content=body, headers=VERSION)
            assert answer.status_code < 500, (path, depth, answer.text)
            assert depth < 200 or answer.status_code == 400


async def test_bodies_that_are_none_and_too_long(ada, workspace, own, provider, monkeypatch):
    for body in (b"", b"[]", b"{", b"\xff", b'{"model": 5}', b"{}"):
        answer = await ada.http.post(CHAT, content=body)
        assert (answer.status_code, "error" in answer.json()) == (400, True), body
    long = b" " * (own.body_limit + 1)
    answer = await ada.http.post(MESSAGES, content=long, headers=VERSION)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert provider.record.count == 0


async def test_a_call_is_for_a_place_the_caller_reads(people, ada, bob, workspace, provider):
    secret = await people.document(ada, workspace, restricted=True)
    stranger = await people.person("Sam")

    async def tried(person, **place):
        headers = {f"X-{name}-Id": str(id_) for name, id_ in place.items()}
        answer = await person.http.post(CHAT, json=chat(), headers=headers)
        return answer.status_code, answer.json().get("error", {}).get("code")

    assert await tried(ada, Workspace=workspace, Document=secret["id"]) == (200, None)
    assert await tried(bob, Workspace=workspace) == (200, None)
    assert await tried(bob, Document=secret["id"]) == (404, "document_not_found")
    assert await tried(stranger, Workspace=workspace) == (404, "workspace_not_found")
    assert await tried(stranger, Document=uuid7()) == (404, "document_not_found")
    assert await tried(ada, Workspace=uuid7(), Document=secret["id"]) == (422, "document_elsewhere")
    assert await tried(ada, Workspace="elsewhere") == (400, "place_invalid")
    guest = await people.person("Gus")
    await people.join(workspace, guest, "guest")
    assert await tried(guest, Workspace=workspace) == (403, "action_forbidden")
    granted = await ada.http.put(f"/v1/documents/{secret['id']}/access/user:{guest.id}", json={"role": "viewer"})
    assert granted.status_code == 200, granted.text
    assert await tried(guest, Document=secret["id"]) == (200, None)


async def test_a_document_restricted_meanwhile_ends_the_stream(people, ada, bob, workspace, provider):
    document = await people.document(ada, workspace)
    provider.behaviours.set("dev-small", Behaviour(piece_seconds=0.02, tokens=5000), None)

    async def stream():
        body, headers = chat(max_tokens=4000, stream=True), {"X-Document-Id": document["id"]}
        async with bob.http.stream("POST", CHAT, json=body, headers=headers) as answer:
            return b"".join([chunk async for chunk in answer.aiter_raw()])

    asked = asyncio.create_task(stream())
    assert await provider.record.until(lambda: provider.record.open == 1, 5)
    path = f"/v1/documents/{document['id']}/access"
    assert (await ada.http.put(path, json={"restricted": True})).status_code == 200
    data = await asyncio.wait_for(asked, 5)
    assert b"call_ended" in data[-300:]


async def test_without_a_place_it_is_the_only_workspace_s_or_nobody_s(people, ada, workspace, provider, owner):
    await ada.http.post(CHAT, json=chat())
    await usage_of(ada)
    other = await people.workspace(ada, "Other")
    await ada.http.post(CHAT, json=chat(), headers={"X-Workspace-Id": other})
    await ada.http.post(CHAT, json=chat())
    await usage_of(ada, 3)
    rows = owner.execute("SELECT workspace_id::text FROM ai_proxy.usage WHERE user_id = %s ORDER BY at", (ada.id,))
    assert [row[0] for row in rows.fetchall()] == [workspace, other, None]


async def test_a_model_list_and_a_count_cost_nothing(ada, workspace, provider):
    answer = await ada.http.get(f"{OPENAI}models")
    assert answer.json()["object"] == "list"
    assert (await ada.http.get(f"{OPENAI}models/dev-small")).json()["id"] == "dev-small"
    answer = await ada.http.post(f"{MESSAGES}/count_tokens", json=chat(), headers=VERSION)
    assert answer.json()["input_tokens"] > 0
    assert (await usage_of(ada, 3))["items"][0]["tokens"] == 0


async def test_an_own_key_is_used_and_shown_to_nobody(
    people, ada, bob, workspace, provider, environment, owner, caplog
):
    key = "dev-own-secret-1234567890wxyz"
    answer = await ada.http.put("/v1/ai/keys/openai", json={"key": key})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["last4"], key in answer.text) == ("wxyz", False)
    assert (await ada.http.get("/v1/ai/keys/openai")).json()["last4"] == "wxyz"
    assert (await ada.http.post(CHAT, json=chat())).status_code == 200
    assert provider.record.requests[-1].headers["authorization"] == f"Bearer {key}"
    answer = await bob.http.put(f"/v1/ai/keys/openai?workspace_id={workspace}", json={"key": "x" * 20})
    assert answer.status_code == 403
    shared = "dev-own-of-the-workspace-abcd"
    await ada.http.put(f"/v1/ai/keys/openai?workspace_id={workspace}", json={"key": shared})
    assert (await bob.http.post(CHAT, json=chat())).status_code == 200
    assert provider.record.requests[-1].headers["authorization"] == f"Bearer {shared}"
    stored = owner.execute("SELECT own_key::text FROM ai_proxy.own_key").fetchall()
    assert not any(key in str(row) or shared in str(row) for row in stored)
    told = owner.execute("SELECT data::text FROM ai_proxy.event WHERE type LIKE 'ai-proxy.key.%'").fetchall()
    assert len(told) >= 2
    assert not any(key in str(row) or shared in str(row) for row in told)
    assert key not in caplog.text
    owner.execute("UPDATE ai_proxy.own_key SET owner_id = %s WHERE kind = 'user' AND owner_id = %s", (bob.id, ada.id))
    answer = await bob.http.post(CHAT, json=chat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "own_key_unreadable"), "bound to its owner"
    owner.execute("DELETE FROM ai_proxy.own_key WHERE owner_id = %s", (bob.id,))
    assert (await ada.http.delete(f"/v1/ai/keys/openai?workspace_id={workspace}")).status_code == 204
    assert (await ada.http.delete(f"/v1/ai/keys/openai?workspace_id={workspace}")).status_code == 404
    assert (await ada.http.get("/v1/ai/keys/nobody")).status_code == 404


async def test_what_is_said_is_nowhere_afterwards(people, ada, workspace, provider, environment, caplog, capfd, fleet):
    marker = "xylophone-marzipan-4711"
    document = await people.document(ada, workspace, content="plain\n")
    place = {"X-Document-Id": document["id"]}
    question = f"{marker} is what? {marker} is red."
    with caplog.at_level("DEBUG", logger="ai_proxy"):
        answer = await ada.http.post(CHAT, json=chat(text=question), headers=place)
        assert marker in answer.text
        await ada.http.post(CHAT, json=chat("dev-half", text=question, stream=True), headers=place)
        await ada.http.post(CHAT, json=chat("dev-500", text=question), headers=place)
        body = {"action": "ask", "instructions": question, "selection": marker, "document_id": document["id"]}
        answer = await ada.http.post("/v1/ai/assist", json=body)
        assert marker in answer.text
    await usage_of(ada, 4)
    assert marker not in caplog.text
    captured = capfd.readouterr()
    assert marker not in captured.out + captured.err
    for schema in ("ai_proxy", "documents", "files", "sync"):
        with psycopg.connect(environment[f"{schema.upper()}_OWNER_DATABASE_URL"]) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
            for (table,) in tables:
                found = connection.execute(
                    f"SELECT count(*) FROM {schema}.{table} t WHERE t::text LIKE %s", (f"%{marker}%",)
                ).fetchone()
                assert found == (0,), table
    assert fleet["ai-proxy"]
