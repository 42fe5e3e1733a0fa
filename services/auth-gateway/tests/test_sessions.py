"""Logging in, rotating refresh tokens, ending sessions."""

import asyncio
import secrets
from base64 import urlsafe_b64encode
from uuid import UUID, uuid4

import pytest

from auth_gateway.domain import RefreshToken
from common.identifiers import uuid7


async def refresh(http, token):
    return await http.post("/v1/auth/refresh", json={"refresh_token": token})


async def age(owner, person, seconds):
    """Let this much time pass for the replaced refresh tokens of a session."""
    await owner(
        "UPDATE auth_gateway.session SET replaced_at = ARRAY(SELECT at - %s * interval '1 second' "
        "FROM unnest(replaced_at) WITH ORDINALITY AS replaced (at, n) ORDER BY n) WHERE id = %s",
        seconds,
        person.session_id,
    )


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
async def session(people, visitor, owner, environment):
    """Makes a session with a refresh token, as a login would but without its password hash."""

    async def make():
        person = await people.person()
        token = RefreshToken(person.session_id, 1).render(environment["AUTH_GATEWAY_REFRESH_KEY"])
        await owner(
            "UPDATE auth_gateway.session SET refresh_hash = sha256(%s) WHERE id = %s", token.encode(), person.session_id
        )
        return person, visitor(), token

    return make


# Login


async def test_login_opens_a_session_with_its_device(sign_up, environment):
    ada = await sign_up()
    device = str(uuid4())
    seen = ada.http.headers["X-Forwarded-For"]
    ada.http.headers["X-Forwarded-For"] = f"6.6.6.6, {seen}"
    tokens = await ada.login(device_id=device, device_name="Laptop")
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "user"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert (tokens["user"]["id"], tokens["user"]["email"]) == (ada.id, ada.email)
    [listed] = (await ada.http.get("/v1/auth/sessions", headers=bearer(tokens))).json()["items"]
    assert (listed["device_id"], listed["device_name"], listed["current"]) == (device, "Laptop", True)
    assert listed["client_ip"] == seen


async def test_the_address_may_be_typed_in_any_case(sign_up):
    ada = await sign_up()
    ada.email = ada.email.upper()
    assert (await ada.login())["user"]["id"] == ada.id


async def test_wrong_password_and_unknown_address_cannot_be_told_apart(
    sign_up, visitor, fleet, refused, monkeypatch, owner
):
    ada = await sign_up()
    passwords = fleet["auth-gateway"].app.state.resources.passwords
    verified = []
    genuine = passwords._matches

    def watched(password, password_hash):
        verified.append(password_hash.rsplit("$", 2)[0])
        return genuine(password, password_hash)

    monkeypatch.setattr(passwords, "_matches", watched)
    answers = [
        await visitor().post("/v1/auth/login", json={"email": email, "password": "violet tundra 88"})
        for email in (ada.email, f"nobody-{secrets.token_hex(8)}@example.org")
    ]
    wrong, unknown = [refused(answer, 401, "invalid_credentials") for answer in answers]
    assert {**wrong, "trace_id": ""} == {**unknown, "trace_id": ""}
    # The same work for both; clocks are no witnesses on a busy machine.
    assert verified == ["$argon2id$v=19$m=47104,t=3,p=1"] * 2
    assert set(answers[0].headers) == set(answers[1].headers)
    assert await owner("SELECT 1 FROM auth_gateway.session WHERE user_id = %s", ada.id) == []


async def test_attempts_on_one_account_are_limited_and_its_owner_elsewhere_is_not_kept_out(
    sign_up, people, visitor, refused
):
    ada = await sign_up()
    body = {"email": ada.email, "password": "violet tundra 88"}
    address = visitor().headers["X-Forwarded-For"]

    async def guess(n):
        # Who guesses also forges what stands left of the gateway's entry.
        return await people.client().post(
            "/v1/auth/login", json=body, headers={"X-Forwarded-For": f"6.6.6.{n}, {address}"}
        )

    answers = [await guess(n) for n in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    problem = refused(answers[-1], 429, "rate_limited")
    assert problem["policy"] == "login"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
    body["email"] = ada.email.upper()
    refused(await guess(12), 429, "rate_limited")
    assert (await ada.login())["access_token"]
    bob = await people.person("Bob")
    refused(await visitor().post("/v1/auth/login", json={**body, "email": bob.email}), 401, "invalid_credentials")


async def test_guessing_from_many_addresses_is_limited_too(people, fleet, visitor, refused):
    ada = await people.person()
    platform = fleet["auth-gateway"].app.state.platform
    policy = fleet["auth-gateway"].app.state.resources.login_account_policy
    for _ in range(policy.burst):  # as that many guesses would
        await platform.limiter.take(policy, ada.email)
    answer = await visitor().post("/v1/auth/login", json={"email": ada.email, "password": "violet tundra 88"})
    assert refused(answer, 429, "rate_limited")["policy"] == "login_account"


async def test_forged_forwarding_headers_do_not_change_the_anonymous_bucket(people, visitor, refused):
    address = visitor().headers["X-Forwarded-For"]
    http = people.client()

    async def ask(forwarded):
        return await http.get(f"/v1/invitations/{'x' * 43}", headers={"X-Forwarded-For": forwarded})

    first = await ask(address)
    assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("300", "74")
    assert int(first.headers["RateLimit-Reset"]) >= 1
    forged = await asyncio.gather(*(ask(f"10.9.8.{n}, 6.6.6.{n}, {address}") for n in range(150)))
    limited = [answer for answer in forged if answer.status_code == 429]
    assert len(limited) >= 20  # 75 at once, five flow back a second
    assert int(limited[0].headers["Retry-After"]) >= 1
    assert refused(limited[0], 429, "rate_limited")["policy"] == "anonymous"
    assert (await ask(visitor().headers["X-Forwarded-For"])).headers["RateLimit-Remaining"] == "74"


async def test_other_requests_are_answered_while_passwords_are_hashed(visitor, fleet, people):
    http, live = people.client(), f"{fleet['auth-gateway'].url}/health/live"
    body = {"password": "violet tundra 88"}
    logins = asyncio.gather(
        *(
            visitor().post("/v1/auth/login", json={**body, "email": f"nobody-{secrets.token_hex(8)}@example.org"})
            for _ in range(8)
        )
    )
    answered = 0
    while not logins.done():
        assert (await asyncio.wait_for(http.get(live), 2)).status_code == 200
        answered += 1
    assert [answer.status_code for answer in await logins] == [401] * 8
    assert answered > 3 * 8  # were the hashes computed on the loop, each would hold up one


async def test_a_full_password_queue_is_an_honest_503(visitor, fleet, refused, monkeypatch):
    monkeypatch.setattr(fleet["auth-gateway"].app.state.resources.passwords, "_room", 1)
    answers = await asyncio.gather(
        *(
            visitor().post("/v1/auth/login", json={"email": f"nobody{n}@example.org", "password": "violet tundra 88"})
            for n in range(4)
        )
    )
    assert {answer.status_code for answer in answers} == {401, 503}
    full = next(answer for answer in answers if answer.status_code == 503)
    refused(full, 503, "password_queue_full")
    assert int(full.headers["Retry-After"]) >= 1


# Refresh


async def test_refreshing_rotates_and_moves_the_end_of_the_session(session, owner):
    ada, http, token = await session()
    answer = await refresh(http, token)
    assert answer.status_code == 200
    tokens = answer.json()
    assert tokens["refresh_token"] != token
    assert (await http.get("/v1/users/me", headers=bearer(tokens))).json()["id"] == str(ada.id)
    [(generation, lifetime)] = await owner(
        "SELECT generation, extract(day FROM expires_at - now()) FROM auth_gateway.session WHERE id = %s",
        ada.session_id,
    )
    assert generation == 2
    assert 29 <= lifetime <= 30
    assert (await refresh(http, tokens["refresh_token"])).status_code == 200


async def test_nothing_in_the_database_is_a_refresh_token(sign_up, owner):
    ada = await sign_up()
    token = (await ada.login())["refresh_token"]
    [(row,)] = await owner("SELECT to_jsonb(s)::text FROM auth_gateway.session s WHERE user_id = %s", ada.id)
    secret = token.rsplit(".", 1)[1]
    assert secret not in row
    assert token not in row


async def test_20_parallel_refreshes_get_one_successor_and_nobody_is_logged_out(session):
    _, http, token = await session()
    answers = await asyncio.gather(*(refresh(http, token) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert (await http.get("/v1/users/me", headers=bearer(answers[7].json()))).status_code == 200
    assert (await refresh(http, answers[0].json()["refresh_token"])).status_code == 200


async def test_a_used_token_coming_back_late_ends_the_session_although_the_request_fails(
    session, owner, refused, people
):
    ada, http, token = await session()
    workspace = await people.workspace(ada)
    successor = (await refresh(http, token)).json()
    await age(owner, ada, 11)
    refused(await refresh(http, token), 401, "refresh_reused")

    [(ended,)] = await owner("SELECT ended_at FROM auth_gateway.session WHERE id = %s", ada.session_id)
    assert ended
    [(event,)] = await owner("SELECT data FROM auth_gateway.event WHERE aggregate_id = %s", ada.session_id)
    assert event["reason"] == "refresh_reused"
    refused(await refresh(http, successor["refresh_token"]), 401, "refresh_invalid")
    refused(await refresh(http, token), 401, "refresh_invalid")
    for access in (ada.token, successor["access_token"]):
        me = await http.get("/v1/users/me", headers={"Authorization": f"Bearer {access}"})
        refused(me, 401, "session_revoked")
    await until_revoked(people.client(ada.token), f"/v1/documents?workspace_id={workspace}", refused)


async def until_revoked(http, path, refused):
    async with asyncio.timeout(1):
        while (answer := await http.get(path)).status_code == 200:
            await asyncio.sleep(0.01)
    refused(answer, 401, "session_revoked")


async def test_within_the_window_every_older_token_gets_the_living_one(session):
    _, http, first = await session()
    second = (await refresh(http, first)).json()["refresh_token"]
    third = (await refresh(http, second)).json()["refresh_token"]
    for old in (first, second, first):
        answer = await refresh(http, old)
        assert (answer.status_code, answer.json().get("refresh_token")) == (200, third), answer.text
    answers = await asyncio.gather(*(refresh(http, token) for token in (first, second, third) * 7))
    assert [answer.status_code for answer in answers] == [200] * 21
    [fourth] = {answer.json()["refresh_token"] for answer in answers} - {third}
    assert (await refresh(http, fourth)).status_code == 200


async def test_each_token_has_a_window_of_its_own_however_busy_the_session_is(session, owner, refused):
    ada, http, first = await session()
    second = (await refresh(http, first)).json()["refresh_token"]
    await age(owner, ada, 6)
    third = (await refresh(http, second)).json()["refresh_token"]
    await age(owner, ada, 6)
    assert (await refresh(http, second)).json()["refresh_token"] == third  # replaced 6 seconds ago
    refused(await refresh(http, first), 401, "refresh_reused")  # 12 seconds ago
    refused(await refresh(http, third), 401, "refresh_invalid")


async def test_a_session_remembers_a_bounded_number_of_replaced_tokens(session, owner, refused):
    ada, http, first = await session()
    tokens = [first]
    for _ in range(17):
        tokens.append((await refresh(http, tokens[-1])).json()["refresh_token"])
    [(kept,)] = await owner("SELECT cardinality(replaced_at) FROM auth_gateway.session WHERE id = %s", ada.session_id)
    assert kept == 16
    assert (await refresh(http, tokens[1])).json()["refresh_token"] == tokens[-1]
    refused(await refresh(http, tokens[0]), 401, "refresh_reused")


async def test_answers_with_tokens_are_not_stored_by_caches(sign_up):
    ada = await sign_up()
    login = await ada.http.post("/v1/auth/login", json={"email": ada.email, "password": ada.password})
    answers = [login, await refresh(ada.http, login.json()["refresh_token"])]
    assert [answer.headers.get("Cache-Control") for answer in answers] == ["no-store"] * 2


async def test_what_is_no_refresh_token_is_refused_and_ends_nothing(session, refused, environment):
    ada, http, token = await session()
    key = environment["AUTH_GATEWAY_REFRESH_KEY"]
    prefix, proof = token.rsplit(".", 1)
    last = urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
    for wrong in (
        "garbage",
        ada.token[:500],
        f"{prefix}.{proof[:-2]}AA",
        f"{prefix}.{last}",
        token.replace(".1.", ".2."),
        RefreshToken(ada.session_id, 1).render("x" * 32),
        RefreshToken(ada.session_id, 2).render(key)[:-1],
        RefreshToken(uuid7(), 1).render(key),
        RefreshToken(UUID(int=0), 1).render(key),
    ):
        refused(await refresh(http, wrong), 401, "refresh_invalid")
    assert (await refresh(http, token)).status_code == 200


async def test_an_expired_session_cannot_be_refreshed(session, owner, refused):
    ada, http, token = await session()
    await owner("UPDATE auth_gateway.session SET expires_at = now() WHERE id = %s", ada.session_id)
    refused(await refresh(http, token), 401, "refresh_invalid")


# Logout and the session list


async def test_logging_out_ends_the_session_and_can_be_repeated(session, owner, refused):
    ada, http, token = await session()
    for _ in range(2):
        assert (await http.post("/v1/auth/logout", json={"refresh_token": token})).status_code == 204
    refused(await ada.http.get("/v1/users/me"), 401, "session_revoked")
    refused(await refresh(http, token), 401, "refresh_invalid")
    events = await owner("SELECT data->>'reason' FROM auth_gateway.event WHERE aggregate_id = %s", ada.session_id)
    assert events == [("logout",)]
    assert (await http.post("/v1/auth/logout", json={"refresh_token": "garbage"})).status_code == 204


async def test_sessions_are_listed_and_ended_one_by_one_or_all_others(sign_up, visitor, people, refused):
    ada = await sign_up()
    here, there, third = [await ada.login(device_name=name) for name in ("here", "there", "third")]
    me = people.client(here["access_token"])
    listed = (await me.get("/v1/auth/sessions")).json()["items"]
    assert {item["device_name"]: item["current"] for item in listed} == {"here": True, "there": False, "third": False}

    by_name = {item["device_name"]: item["id"] for item in listed}
    assert (await me.delete(f"/v1/auth/sessions/{by_name['there']}")).status_code == 204
    refused(await ada.http.get("/v1/users/me", headers=bearer(there)), 401, "session_revoked")
    refused(await refresh(visitor(), there["refresh_token"]), 401, "refresh_invalid")
    refused(await me.delete(f"/v1/auth/sessions/{by_name['there']}"), 404, "session_not_found")

    assert (await me.delete("/v1/auth/sessions")).status_code == 204
    refused(await ada.http.get("/v1/users/me", headers=bearer(third)), 401, "session_revoked")
    assert [item["device_name"] for item in (await me.get("/v1/auth/sessions")).json()["items"]] == ["here"]


async def test_sessions_of_others_cannot_be_seen_or_ended(people, refused):
    ada, eve = await people.person(), await people.person("Eve")
    assert [item["id"] for item in (await eve.http.get("/v1/auth/sessions")).json()["items"]] == [str(eve.session_id)]
    refused(await eve.http.delete(f"/v1/auth/sessions/{ada.session_id}"), 404, "session_not_found")
    assert (await eve.http.delete("/v1/auth/sessions")).status_code == 204
    assert (await ada.http.get("/v1/users/me")).status_code == 200
