"""Access tokens: what no service takes, and what happens without keys."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from types import SimpleNamespace
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from auth_gateway.identity import TokenIssuer
from common.auth import Authenticator, Keys, KeysUnavailableError, Revocations, TokenInvalidError
from common.errors import UnavailableError


def encoded(part):
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def key(environment):
    made = RSAKey.import_key(environment["AUTH_GATEWAY_SIGNING_KEYS"], {"use": "sig", "alg": "RS256"})
    made.ensure_kid()
    return made


@pytest.fixture
async def forge(people, key, environment):
    """Access tokens of a living session, signed with the real key; anything about them can be changed."""
    ada = await people.person()
    workspace = await people.workspace(ada)

    def make(*, header=None, without=(), sign=None, **changed):
        now = int(time.time())
        claims = {
            "iss": environment["MDC_ISSUER"],
            "aud": "mdcreator",
            "sub": str(ada.id),
            "sid": str(ada.session_id),
            "iat": now,
            "exp": now + 600,
            "amr": ["pwd"],
            "scope": "*",
            "email_verified": False,
            **changed,
        }
        claims = {name: value for name, value in claims.items() if name not in without}
        all_headers = {"alg": "RS256", "typ": "at+jwt", "kid": key.kid, **(header or {})}
        if sign:
            signed = f"{encoded(all_headers)}.{encoded(claims)}"
            return f"{signed}.{encoded(sign(signed.encode()))}"
        return jwt.encode(all_headers, claims, key, algorithms=["RS256"])

    make.ada, make.paths = ada, ("/v1/users/me", f"/v1/documents?workspace_id={workspace}")
    return make


def _hs256(secret):
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()


def _tampered(token, part):
    """The token with one character in the middle of one of its parts changed."""
    parts = token.split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    return ".".join(parts)


FORGERIES = {
    "alg none": lambda forge, _: forge(header={"alg": "none"}, sign=lambda _: b""),
    "alg None": lambda forge, _: forge(header={"alg": "None"}, sign=lambda _: b""),
    "alg none with a signature": lambda forge, _: forge(header={"alg": "none"}, sign=lambda _: b"x" * 256),
    "HS256 with the public key, PEM": lambda forge, key: forge(
        header={"alg": "HS256"}, sign=_hs256(key.as_pem(private=False))
    ),
    "HS256 with the public key, JWK": lambda forge, key: forge(
        header={"alg": "HS256"}, sign=_hs256(json.dumps(key.as_dict(private=False)).encode())
    ),
    "HS256 with nothing": lambda forge, _: forge(header={"alg": "HS256"}, sign=_hs256(b"")),
    "own key in the header": lambda forge, _: _with_own_key(forge),
    "own key under our key id": lambda forge, _: forge(sign=_signing(RSAKey.generate_key(2048))),
    "unknown key id": lambda forge, _: forge(header={"kid": "unknown"}),
    "no key id": lambda forge, _: forge(header={"kid": None}, sign=lambda _: b"x"),
    "another algorithm": lambda forge, _: forge(header={"alg": "RS512"}, sign=lambda _: b"x" * 256),
    "critical extension": lambda forge, key: forge(
        header={"crit": ["urn:unknown"], "urn:unknown": 1}, sign=_signing(key)
    ),
    "wrong issuer": lambda forge, _: forge(iss="https://evil.example.org"),
    "wrong audience": lambda forge, _: forge(aud="another"),
    "audience among others": lambda forge, _: forge(aud=["another", "mdcreator"]),
    "tampered header": lambda forge, _: _tampered(forge(), 0),
    "tampered claims": lambda forge, _: _tampered(forge(), 1),
    "tampered signature": lambda forge, _: _tampered(forge(), 2),
    "no signature": lambda forge, _: forge().rpartition(".")[0] + ".",
    **{
        f"without {claim}": lambda forge, _, claim=claim: forge(without=[claim])
        for claim in ("iss", "aud", "sub", "sid", "exp", "amr", "scope", "email_verified")
    },
    "sub no uuid": lambda forge, _: forge(sub="ada"),
    "exp a word": lambda forge, _: forge(exp="never"),
    "claims a list": lambda _, key: _compact(key, b"[]"),
    "claims not json": lambda _, key: _compact(key, b"\xff"),
    "not a token": lambda *_: "garbage",
    "empty parts": lambda *_: "..",
    "header a list": lambda *_: f"{encoded([])}.e30.x",
    "header nested deeply": lambda *_: f"{encoded(b'[' * 5000)}.e30.x",
    "header not ASCII": lambda *_: "\xe9\xe9.e30.x",
    "a service assertion": lambda forge, _: forge.assertion,
}


def _signing(key):
    def sign(signed):
        compact = jwt.encode({"alg": "RS256"}, {}, key, algorithms=["RS256"])
        assert compact
        from joserfc.jws import JWSRegistry

        return JWSRegistry.algorithms["RS256"].sign(signed, key)

    return sign


def _with_own_key(forge):
    own = RSAKey.generate_key(2048)
    return forge(header={"jwk": own.as_dict(private=False)}, sign=_signing(own))


def _compact(key, claims):
    signed = f"{encoded({'alg': 'RS256', 'kid': key.kid})}.{encoded(claims)}"
    return f"{signed}.{encoded(_signing(key)(signed.encode()))}"


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_tokens_are_401_everywhere(forge, key, people, fleet, refused, name):
    forge.assertion = fleet["documents"].app.state.platform.identity.assertion("auth-gateway")
    http = people.client()
    authorization = f"Bearer {FORGERIES[name](forge, key)}".encode("latin-1")
    for path in forge.paths:
        answer = await http.get(path, headers=[(b"Authorization", authorization)])
        refused(answer, 401, "token_invalid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_genuine_token_is_taken_everywhere(forge, people):
    http = people.client(forge())
    assert [(await http.get(path)).status_code for path in forge.paths] == [200, 200]


async def test_expired_tokens_are_401_everywhere(forge, people, refused):
    for token in (forge(exp=int(time.time()) - 6), forge(exp=0), forge(exp=-1)):
        for path in forge.paths:
            answer = await people.client(token).get(path)
            refused(answer, 401, "token_expired")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_taken_once_still_expires(forge, people, refused, monkeypatch):
    http = people.client(forge())
    assert [(await http.get(path)).status_code for path in forge.paths] == [200, 200]
    later = SimpleNamespace(time=lambda: time.time() + 606, monotonic=time.monotonic)
    monkeypatch.setattr("common.auth.time", later)
    for path in forge.paths:
        refused(await http.get(path), 401, "token_expired")


async def test_without_a_bearer_token_everything_is_401(forge, people, refused):
    http = people.client()
    for path in forge.paths:
        for header in (
            {},
            {"Authorization": forge.ada.token},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer"},
        ):
            answer = await http.get(path, headers=header)
            refused(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        refused(await http.get(path, params={"access_token": forge.ada.token}), 401, "unauthorized")


async def test_tokens_of_an_ended_session_are_401_within_a_second(forge, refused):
    http = forge.ada.http
    assert [(await http.get(path)).status_code for path in forge.paths] == [200, 200]
    assert (await http.delete(f"/v1/auth/sessions/{forge.ada.session_id}")).status_code == 204
    async with asyncio.timeout(1):
        for path in forge.paths:
            while (answer := await http.get(path)).status_code == 200:
                await asyncio.sleep(0.01)
            refused(answer, 401, "session_revoked")


# Keys of a verifying service


@pytest.fixture(scope="module")
def issuer():
    return TokenIssuer(
        RSAKey.generate_key(2048).as_pem(private=True).decode(), issuer="i", audience="a", lifetime_seconds=60
    )


class Source:
    """Where keys are fetched from; can be away, and counts."""

    def __init__(self, issuer, *, away=False):
        self.issuer, self.away, self.asked = issuer, away, 0

    async def __call__(self):
        self.asked += 1
        if self.away:
            raise UnavailableError
        return self.issuer.jwks()


def authenticator(keys):
    return Authenticator(keys, Revocations(), issuer="i", audience="a")


async def test_without_keys_nobody_can_be_told_apart_which_is_503(issuer, tmp_path):
    source = Source(issuer, away=True)
    keys = Keys(source, tmp_path / "jwks.json")
    token = issuer.issue(uuid4(), uuid4(), amr=["pwd"], email_verified=False)
    with pytest.raises(KeysUnavailableError) as refused:
        await authenticator(keys).authenticate(token)
    assert (refused.value.status_code, refused.value.code) == (503, "keys_unavailable")
    assert refused.value.headers["Retry-After"]
    with pytest.raises(KeysUnavailableError):
        await authenticator(keys).authenticate(token)
    assert source.asked == 1  # asked again after a second, not by every request

    source.away = False
    keys._next_fetch = 0.0
    assert (await authenticator(keys).authenticate(token)).amr == ("pwd",)


async def test_a_token_that_cannot_be_ours_is_401_even_without_keys(issuer, tmp_path):
    with pytest.raises(TokenInvalidError):
        await authenticator(Keys(Source(issuer, away=True), tmp_path / "jwks.json")).authenticate("garbage")


async def test_the_last_keys_survive_a_restart_without_the_issuer(issuer, tmp_path):
    kept = tmp_path / "folder" / "jwks.json"
    await Keys(Source(issuer), kept).refresh()
    away = Source(issuer, away=True)
    token = issuer.issue(uuid4(), uuid4(), amr=["pwd"], email_verified=False)
    assert await authenticator(Keys(away, kept)).authenticate(token)
    assert away.asked == 0


async def test_an_unknown_key_id_refetches_but_not_without_end(issuer, tmp_path):
    source = Source(issuer)
    keys = Keys(source, tmp_path / "jwks.json")
    await keys.refresh()
    for _ in range(50):
        with pytest.raises(TokenInvalidError):
            await keys.find("unknown")
    assert source.asked == 1
    keys._next_fetch = 0.0  # a second later
    await asyncio.gather(*(keys.find("unknown") for _ in range(50)), return_exceptions=True)
    assert source.asked == 2


async def test_failures_back_off_and_keep_the_last_keys(issuer, tmp_path):
    source = Source(issuer)
    keys = Keys(source, tmp_path / "jwks.json")
    await keys.refresh()
    source.away = True
    waits = []
    for _ in range(10):
        keys._next_fetch = 0.0
        # The issuer might have published this key since: its holder is not told to sign in again.
        with pytest.raises(KeysUnavailableError):
            await keys.find("unknown")
        waits.append(round(keys._next_fetch - time.monotonic(), 1))
    assert waits == sorted(waits)
    assert waits[0] <= 2
    assert 10 < waits[-1] <= 60
    assert source.asked == 11
    assert await keys.find(issuer.jwks()["keys"][0]["kid"])


async def test_a_new_key_is_found_when_the_first_token_signed_with_it_comes(issuer, tmp_path):
    source = Source(issuer)
    keys = Keys(source, tmp_path / "jwks.json")
    await keys.refresh()
    rotated = TokenIssuer(
        RSAKey.generate_key(2048).as_pem(private=True).decode(), issuer="i", audience="a", lifetime_seconds=60
    )
    source.issuer, keys._next_fetch = rotated, 0.0
    assert await authenticator(keys).authenticate(rotated.issue(uuid4(), uuid4(), amr=["pwd"], email_verified=True))
