"""Passwords and signing keys, without a fleet."""

import asyncio
import json
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from auth_gateway.errors import PasswordTooWeakError, TooManyPasswordsError
from auth_gateway.identity import Passwords, TokenIssuer

STRONG = "violet Tundra 88 kettle"


@pytest.fixture(scope="module")
def passwords():
    made = Passwords(threads=2, queue=64)
    yield made
    made.close()


async def test_hashes_are_argon2id_of_the_agreed_cost_and_salted(passwords):
    first, second = await passwords.hash(STRONG, []), await passwords.hash(STRONG, [])
    assert first.startswith("$argon2id$v=19$m=47104,t=3,p=1$")
    assert first != second
    assert await passwords.verify(STRONG, first)
    assert not await passwords.verify(STRONG + " ", first)


async def test_without_a_hash_nothing_matches_not_even_the_decoy_password(passwords):
    assert not await passwords.verify("nobody's password", None)
    assert not await passwords.verify("nobody's password", "")


async def test_a_damaged_hash_matches_nothing(passwords):
    for damaged in ("", "plain", "$argon2id$v=19$m=47104,t=3,p=1$c2FsdHNhbHQ$"):
        assert not await passwords.verify("plain", damaged)


@pytest.mark.parametrize(
    "password",
    [
        "a",
        "password",
        "Password1!",
        "qwertyuiop123",
        "correcthorse",
        "iloveyou2024",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "abcdefghijklmnop",
        "19840312",
        "mdcreator2026",
        "grzegorz.brzeczyszczykiewicz@example.org",
        "brzeczyszczykiewicz",
        "Brzeczyszczykiewicz1",
        "kunegundawisniewska",
        "Kunegunda Wisniewska",
    ],
)
async def test_guessable_passwords_are_refused(passwords, password):
    with pytest.raises(PasswordTooWeakError):
        await passwords.hash(
            password, ["grzegorz.brzeczyszczykiewicz@example.org", "Kunegunda Wisniewska", "mdcreator"]
        )


async def test_more_hashes_than_the_queue_holds_are_refused_and_room_comes_back():
    passwords = Passwords(threads=1, queue=2)
    answers = await asyncio.gather(*(passwords.verify("x", None) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [bool, bool, *[TooManyPasswordsError] * 3]
    assert await passwords.verify("x", None) is False
    passwords.close()


def _pem():
    return RSAKey.generate_key(2048).as_pem(private=True).decode()


def test_the_first_key_signs_and_all_are_published_without_their_private_part():
    first, second = _pem(), _pem()
    issuer = TokenIssuer(f"{first}\n{second}", issuer="https://i", audience="a", lifetime_seconds=60)
    published = issuer.jwks()
    assert [set(key) & {"d", "p", "q", "dp", "dq", "qi"} for key in published["keys"]] == [set(), set()]
    assert {key["alg"] for key in published["keys"]} == {"RS256"}
    assert "PRIVATE" not in json.dumps(published)

    token = issuer.issue(uuid4(), uuid4(), amr=["pwd"], email_verified=True)
    decoded = jwt.decode(token, KeySet.import_key_set(dict(published)), algorithms=["RS256"])  # type: ignore[arg-type]
    assert decoded.header["kid"] == published["keys"][0]["kid"] != published["keys"][1]["kid"]
    assert decoded.header["typ"] == "at+jwt"
    assert decoded.claims["exp"] - decoded.claims["iat"] == 60
    assert decoded.claims.keys() == {"iss", "aud", "sub", "sid", "iat", "exp", "amr", "scope", "email_verified"}


def test_without_a_private_key_there_is_no_issuer():
    with pytest.raises(ValueError, match="SIGNING_KEYS"):
        TokenIssuer("nothing", issuer="i", audience="a", lifetime_seconds=60)
