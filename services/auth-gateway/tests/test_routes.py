"""Sign-up, the own profile, keys, internal routes; what every route refuses."""

import asyncio
import dataclasses
import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from auth_gateway.mail import FolderMailer
from common.auth import ServiceIdentity
from common.testing.fleet import Client

STRONG = "violet Tundra 88 kettle"

Visitor = Callable[[], Client]


def _body(**fields):
    email = f"New.{secrets.token_hex(8)}@Example.ORG"
    return {"email": email, "password": STRONG, "display_name": "Ada Lovelace", **fields}


# Registration


async def test_registering_answers_the_account_with_a_lower_case_address(visitor, owner):
    body = _body()
    answer = await visitor().post("/v1/auth/register", json=body)
    assert answer.status_code == 201
    user = answer.json()["user"]
    assert answer.json().keys() == {"user", "verification"}
    assert answer.json()["verification"] == "sent"
    assert user.keys() == {"id", "email", "display_name", "email_verified", "created_at"}
    assert (user["email"], user["display_name"], user["email_verified"]) == (
        body["email"].lower(),
        "Ada Lovelace",
        False,
    )
    [(stored,)] = await owner("SELECT password_hash FROM auth_gateway.account WHERE id = %s", user["id"])
    assert stored.startswith("$argon2id$v=19$m=47104,t=3,p=1$")
    [(events,)] = await owner("SELECT count(*) FROM auth_gateway.event WHERE aggregate_id = %s", user["id"])
    assert events == 1


async def test_an_address_is_taken_in_any_case(visitor, refused):
    body = _body()
    http = visitor()
    assert (await http.post("/v1/auth/register", json=body)).status_code == 201
    again = await http.post("/v1/auth/register", json={**body, "email": body["email"].swapcase()})
    refused(again, 409, "email_taken")


async def test_parallel_registrations_of_one_address_make_one_account(visitor, owner):
    body = _body()
    answers = await asyncio.gather(*(visitor().post("/v1/auth/register", json=body) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    rows = await owner("SELECT id FROM auth_gateway.account WHERE email = %s", body["email"].lower())
    assert len(rows) == 1


async def test_enumeration_safe_registration_says_the_same_for_new_and_taken_addresses(
    visitor,
    fleet,
    owner,
    mails,
    monkeypatch,
):
    state = fleet["auth-gateway"].app.state
    terms = dataclasses.replace(state.resources.terms, enumeration_safe=True)
    monkeypatch.setitem(state._state, "resources", dataclasses.replace(state.resources, terms=terms))
    body = _body()
    first, second = [await visitor().post("/v1/auth/register", json=body) for _ in range(2)]
    assert (first.status_code, first.json()) == (second.status_code, second.json()) == (202, {"verification": "sent"})
    assert len(await owner("SELECT 1 FROM auth_gateway.account WHERE email = %s", body["email"].lower())) == 1
    assert [mail["Subject"] for mail in mails(body["email"].lower())] == [
        "Confirm your e-mail address",
        "You have an account already",
    ]


@pytest.mark.parametrize("password", ["password", "Ada Lovelace", "adalovelace", "Example.ORG", "x" * 256])
async def test_guessable_passwords_are_refused(visitor, refused, password):
    refused(await visitor().post("/v1/auth/register", json=_body(password=password)), 422, "password_too_weak")


async def test_the_own_address_is_no_password(visitor, refused):
    body = _body(email="Brzeczyszczykiewicz.K@example.org")
    for password in (body["email"], "brzeczyszczykiewicz"):
        answer = await visitor().post("/v1/auth/register", json={**body, "password": password})
        refused(answer, 422, "password_too_weak")


async def test_passwords_may_have_256_characters_all_of_which_count(visitor, refused):
    body = _body(password="Ünïcödé violet tundra " + secrets.token_hex(117))
    http = visitor()
    assert len(body["password"]) == 256
    assert (await http.post("/v1/auth/register", json=body)).status_code == 201
    login = {"email": body["email"], "password": body["password"]}
    assert (await http.post("/v1/auth/login", json=login)).status_code == 200
    shorter = {**login, "password": login["password"][:-1] + "?"}
    refused(await http.post("/v1/auth/login", json=shorter), 401, "invalid_credentials")
    refused(await http.post("/v1/auth/register", json=_body(password=body["password"] + "!")), 422, "validation_error")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "a\x7fb", "a\x85b", "a\u2028b", "a" * 201, 7, None, ["a"]])
async def test_names_of_people_are_one_line(visitor, refused, name):
    problem = refused(await visitor().post("/v1/auth/register", json=_body(display_name=name)), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["display_name"]


@pytest.mark.parametrize(
    "email",
    ["", "ada", "ada@", "@example.org", "ada@localhost", "a b@example.org", "ada@example.org\n", "ada@example.org\0",
     "Ada <ada@example.org>", f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 63}.org", None],
)  # fmt: skip
async def test_addresses_are_checked(visitor, refused, email):
    problem = refused(await visitor().post("/v1/auth/register", json=_body(email=email)), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["email"]


async def test_an_international_address_gets_its_mail(visitor, mails):
    email = f"jürgen.{secrets.token_hex(4)}@exämple.org"
    assert (await visitor().post("/v1/auth/register", json=_body(email=email))).status_code == 201
    assert mails(email)


async def test_a_mail_that_cannot_be_sent_does_not_undo_the_registration(visitor, fleet, monkeypatch, tmp_path, mails):
    state = fleet["auth-gateway"].app.state
    (tmp_path / "file").touch()
    broken = dataclasses.replace(state.resources, mailer=FolderMailer(tmp_path / "file"))
    monkeypatch.setitem(state._state, "resources", broken)
    body = _body()
    assert (await visitor().post("/v1/auth/register", json=body)).status_code == 201
    assert mails(body["email"].lower()) == []


# Verification of the address


async def test_the_mailed_link_verifies_once_and_only_once(sign_up, refused, mails, mailed_secret, environment):
    ada = await sign_up()
    [mail] = mails(ada.email)
    assert "http://localhost:5173/verify-email?token=" in mail.get_content()
    token = mailed_secret(ada.email)
    login = await ada.login()
    me = {"Authorization": f"Bearer {login['access_token']}"}
    assert not (await ada.http.get("/v1/users/me", headers=me)).json()["email_verified"]
    assert (await ada.http.post("/v1/auth/verify-email", json={"token": token})).status_code == 204
    assert (await ada.http.get("/v1/users/me", headers=me)).json()["email_verified"]
    refused(await ada.http.post("/v1/auth/verify-email", json={"token": token}), 422, "verification_invalid")


async def test_verification_links_expire_and_unknown_ones_are_refused(sign_up, refused, owner, mailed_secret):
    ada = await sign_up()
    refused(await ada.http.post("/v1/auth/verify-email", json={"token": "x" * 43}), 422, "verification_invalid")
    await owner("UPDATE auth_gateway.email_token SET expires_at = now() WHERE user_id = %s", ada.id)
    answer = await ada.http.post("/v1/auth/verify-email", json={"token": mailed_secret(ada.email)})
    refused(answer, 422, "verification_invalid")
    [(verified,)] = await owner("SELECT email_verified_at FROM auth_gateway.account WHERE id = %s", ada.id)
    assert verified is None


async def test_a_link_is_mailed_again_until_the_address_is_verified(people, visitor, mails, mailed_secret):
    ada = await people.person()
    assert (await ada.http.post("/v1/auth/verify-email/resend")).status_code == 202
    assert len(mails(ada.email)) == 1
    answer = await visitor().post("/v1/auth/verify-email", json={"token": mailed_secret(ada.email)})
    assert answer.status_code == 204
    assert (await ada.http.post("/v1/auth/verify-email/resend")).status_code == 202
    assert len(mails(ada.email)) == 1


async def test_nobody_can_have_an_address_flooded_with_mails(people, refused, mails):
    ada = await people.person()
    answers = [await ada.http.post("/v1/auth/verify-email/resend") for _ in range(12)]
    refused(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) > 1
    assert 0 < len(mails(ada.email)) <= 6


# Profiles


async def test_my_name_can_be_changed(people, owner):
    ada = await people.person()
    for _ in range(2):  # the same name again changes nothing
        answer = await ada.http.patch("/v1/users/me", json={"display_name": "  Ada King "})
        assert (answer.status_code, answer.json()["display_name"]) == (200, "Ada King")
    assert (await ada.http.get("/v1/users/me")).json() == answer.json()
    rows = await owner("SELECT data FROM auth_gateway.event WHERE aggregate_id = %s", ada.id)
    assert rows == [({"user_id": str(ada.id), "display_name": "Ada King", "version": 2},)]


async def test_profiles_are_seen_only_within_a_shared_workspace(people, refused):
    ada, bob, eve = await people.person(), await people.person("Bob"), await people.person("Eve")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "viewer")
    await people.workspace(eve)
    assert (await bob.http.get(f"/v1/users/{ada.id}")).json() == {"id": str(ada.id), "display_name": "Ada"}
    assert (await ada.http.get(f"/v1/users/{bob.id}")).status_code == 200
    assert (await eve.http.get(f"/v1/users/{eve.id}")).status_code == 200
    refused(await eve.http.get(f"/v1/users/{ada.id}"), 404, "user_not_found")
    refused(await ada.http.get(f"/v1/users/{eve.id}"), 404, "user_not_found")
    refused(await ada.http.get(f"/v1/users/{uuid4()}"), 404, "user_not_found")

    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    refused(await bob.http.get(f"/v1/users/{ada.id}"), 404, "user_not_found")
    refused(await ada.http.get(f"/v1/users/{bob.id}"), 404, "user_not_found")


# Keys


async def test_discovery_leads_to_the_keys(visitor, environment):
    discovery = (await visitor().get("/.well-known/openid-configuration")).json()
    assert discovery["issuer"] == environment["MDC_ISSUER"]
    answer = await visitor().get(urlsplit(discovery["jwks_uri"]).path)
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert all(key.keys() == {"kty", "n", "e", "kid", "use", "alg"} for key in answer.json()["keys"])


# Internal routes


def _internal_paths():
    return ["/internal/jwks", f"/internal/workspaces/{uuid4()}/members/{uuid4()}", "/internal/revocations?since=0"]


async def test_internal_routes_need_an_assertion_for_this_service(fleet, people, refused, environment):
    ada = await people.person()
    identity: ServiceIdentity = fleet["documents"].app.state.platform.identity
    key = OKPKey.import_key(json.loads(environment["DOCUMENTS_SERVICE_KEY"]))
    now = int(time.time())

    def signed(kid="documents", **claims):
        all_claims = {"iss": "documents", "aud": "auth-gateway", "iat": now, "exp": now + 60, **claims}
        return jwt.encode({"alg": "Ed25519", "kid": kid}, all_claims, key, algorithms=["Ed25519"])

    stranger = OKPKey.generate_key("Ed25519")
    wrong = {
        "another audience": identity.assertion("sync"),
        "a user's token": ada.token,
        "expired": signed(iat=now - 100, exp=now - 40),
        "valid for too long": signed(exp=now + 3600),
        "from the future": signed(iat=now + 30, exp=now + 60),
        "in another's name": signed(iss="sync"),
        "with another's key id": signed(kid="sync"),
        "unknown key": jwt.encode(
            {"alg": "Ed25519", "kid": "documents"},
            {"iss": "documents", "aud": "auth-gateway", "iat": now, "exp": now + 60},
            stranger,
            algorithms=["Ed25519"],
        ),
        "garbage": "garbage",
    }
    for path in _internal_paths():
        url = fleet["auth-gateway"].internal_url + path
        http = people.client()
        refused(await http.get(url), 401, "unauthorized")
        for name, assertion in wrong.items():
            answer = await http.get(url, headers={"Authorization": f"Bearer {assertion}"})
            assert answer.status_code == 401, (path, name)
            refused(answer, 401, "token_expired" if name == "expired" else "token_invalid")
        answer = await http.get(url, headers={"Authorization": f"Bearer {signed()}"})
        assert answer.status_code == (404 if "members" in path else 200)


async def test_internal_routes_are_not_on_the_public_port(fleet, people, refused):
    assertion = fleet["documents"].app.state.platform.identity.assertion("auth-gateway")
    http = people.client(assertion)
    for path in [*_internal_paths(), "/internal/openapi.json"]:
        refused(await http.get(fleet["auth-gateway"].url + path), 404, "not_found")


async def test_memberships_are_told_as_versioned_facts(fleet, people):
    ada, bob = await people.person(), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "editor")
    http = people.client(fleet["documents"].app.state.platform.identity.assertion("auth-gateway"))
    url = f"{fleet['auth-gateway'].internal_url}/internal/workspaces/{workspace}/members/{bob.id}"
    fact = {"workspace_id": workspace, "user_id": str(bob.id), "role": "editor", "version": 1, "removed": False}
    fact["suspended"] = False
    assert (await http.get(url)).json() == fact
    await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")
    assert (await http.get(url)).json() == {**fact, "version": 2, "removed": True}
    entries = (await http.get(fleet["auth-gateway"].internal_url + "/internal/revocations?since=0")).json()["entries"]
    assert entries[f"member:{workspace}:{bob.id}:2"] > time.time() + 24 * 3600


# Bad input

MALFORMED = {
    "not json": b"{name: 1}",
    "half": b'{"name": "x"',
    "deep list": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and open": b"[" * 100_000,
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "many digits": b'{"name": ' + b"9" * 5000 + b"}",
}
MISSHAPEN = {
    "empty": b"",
    "list": b"[]",
    "string": b'"name"',
    "null": b"null",
    "no field": b"{}",
    "number for string": b'{"name": 1}',
    "nan for string": b'{"name": NaN}',
    "huge number for string": b'{"name": 1e999999}',
    "object for string": b'{"name": {"a": "b"}}',
    "unknown field": b'{"name": "x", "role": "owner"}',
    "unknown field of surrogates": b'{"name": "x", "\\ud800": 1}',
    "NUL": b'{"name": "a\\u0000b"}',
    "surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "lone surrogate": b'{"name": "a\\ud800b"}',
    "line separator": b'{"name": "a\\u2028b"}',
    "next line": b'{"name": "a\\u0085b"}',
    "too long": json.dumps({"name": "x" * 201}).encode(),
}
JSON = {"Content-Type": "application/json", "Idempotency-Key": "bad-input"}


@pytest.fixture
def nothing_stored(owner):
    """A block after which no table has more rows than before."""
    tables = ("account", "session", "email_token", "workspace", "member", "invitation", "outbox", "idempotency")
    count = "SELECT " + ", ".join(f"(SELECT count(*) FROM auth_gateway.{table})" for table in tables)

    @asynccontextmanager
    async def block():
        before = await owner(count)
        yield
        assert await owner(count) == before

    return block


async def test_bodies_that_are_not_json_are_400(people, visitor, refused, nothing_stored):
    ada = await people.person()
    async with nothing_stored():
        for body in MALFORMED.values():
            for http, path in ((ada.http, "/v1/workspaces"), (visitor(), "/v1/auth/register")):
                refused(await http.post(path, content=body, headers=JSON), 400, "malformed_json")


async def test_bodies_of_another_shape_are_422_with_field_errors(people, visitor, refused, nothing_stored):
    ada = await people.person()
    async with nothing_stored():
        for body in MISSHAPEN.values():
            for http, path in ((ada.http, "/v1/workspaces"), (visitor(), "/v1/auth/register")):
                problem = refused(await http.post(path, content=body, headers=JSON), 422, "validation_error")
                assert problem["errors"]
                assert all(error.keys() == {"field", "in", "message", "type"} for error in problem["errors"])


async def test_bodies_over_the_limit_are_413(fleet, people, refused, nothing_stored):
    ada = await people.person()

    async def too_much():
        yield b'{"name": "'
        for _ in range(160):
            yield b"x" * 65_536

    async with nothing_stored():
        refused(await ada.http.post("/v1/workspaces", content=too_much(), headers=JSON), 413, "body_too_large")
        for length in (10 * 1024 * 1024 + 1, 10**18):  # refused by its announcement, before anything is sent
            status, problem = await _announce(fleet, ada.token, length)
            assert (status, problem["code"]) == (413, "body_too_large")


async def _announce(fleet, token, length):
    host, _, port = fleet["auth-gateway"].url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/workspaces HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {length}\r\n\r\n".encode()
    )
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    [size] = re.findall(r"content-length: (\d+)", head)
    problem = json.loads(await reader.readexactly(int(size)))
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), problem


async def test_ids_that_are_no_uuid_are_422(people, refused):
    ada = await people.person()
    workspace = await people.workspace(ada)
    for bad in ("7", "me'--", "%00", "x" * 3000, f"{uuid4()}x", "%ff%fe"):
        for method, path in (
            ("GET", f"/v1/users/{bad}"),
            ("GET", f"/v1/workspaces/{bad}"),
            ("PATCH", f"/v1/workspaces/{bad}"),
            ("GET", f"/v1/workspaces/{bad}/members"),
            ("PATCH", f"/v1/workspaces/{workspace}/members/{bad}"),
            ("DELETE", f"/v1/workspaces/{workspace}/members/{bad}"),
            ("POST", f"/v1/workspaces/{bad}/invitations"),
            ("DELETE", f"/v1/workspaces/{workspace}/invitations/{bad}"),
            ("DELETE", f"/v1/auth/sessions/{bad}"),
        ):
            problem = refused(await ada.http.request(method, path, json={}), 422, "validation_error")
            assert "path" in {error["in"] for error in problem["errors"]}


async def test_unknown_routes_and_methods_are_problems_too(people, refused):
    ada = await people.person()
    refused(await ada.http.get("/v1/auth/nothing"), 404, "not_found")
    refused(await ada.http.get("/v1/workspaces/"), 404, "not_found")
    answer = await ada.http.put("/v1/workspaces", json={})
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_every_answer_carries_security_headers_and_its_request_id(people, visitor):
    ada = await people.person()
    for answer in (
        await ada.http.get("/v1/users/me", headers={"X-Request-Id": "mine-1"}),
        await visitor().get("/v1/users/me", headers={"X-Request-Id": "mine-1"}),
    ):
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-cache"


async def test_nobody_can_keep_somebody_from_registering(people):
    victim = {"email": f"victim-{uuid4().hex}@example.org", "display_name": "Victim"}
    client = people.client()
    for _ in range(8):
        refused = await client.post("/v1/auth/register", json={**victim, "password": "password"})
        assert (refused.status_code, refused.json()["code"]) == (422, "password_too_weak")
    answer = await client.post("/v1/auth/register", json={**victim, "password": uuid4().hex})
    assert answer.status_code == 201, answer.text
