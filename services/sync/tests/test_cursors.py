"""Cursors: whose they are, what they survive, when one has to begin again."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.identifiers import uuid7
from common.testing.checks import problem
from common.testing.writing import save
from sync import domain
from sync.domain import Cursor, Head, Position, Scope, Tally
from sync.errors import CursorInvalidError, ResyncRequiredError

from .device import Device

KEY = b"k" * 32
CURSOR = Cursor(*(UUID(int=n) for n in (1, 2, 3, 4)), 5)


async def refused(device, status, code, **body):
    answer = await device.person.http.post("/v1/sync/pull", json={"cursor": device.cursor, **body})
    return problem(answer, status, code)


def test_t22_a_cursor_with_any_byte_changed_is_none():
    token = CURSOR.token(KEY)
    assert domain.read_cursor(token, [KEY]) == CURSOR
    data = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(CursorInvalidError):
                domain.read_cursor(urlsafe_b64encode(changed).rstrip(b"=").decode(), [KEY])
    for text in ("", "x", token[:-1], token + "A", token + "=", "ü", token[1:], token * 3):
        with pytest.raises(CursorInvalidError):
            domain.read_cursor(text, [KEY])


def test_a_new_key_signs_and_the_old_one_is_still_honoured():
    old = CURSOR.token(KEY)
    assert domain.read_cursor(old, [b"new", KEY]) == CURSOR
    with pytest.raises(CursorInvalidError):
        domain.read_cursor(old, [b"new"])


SCOPES = st.builds(Scope, st.sampled_from(["root", "user"]), st.uuids())
POSITIONS = st.builds(
    Position, st.integers(0, 2**53), st.integers(0, 2**53), st.sampled_from(["viewer", "owner", "guest"]), st.booleans()
)


@given(st.dictionaries(SCOPES, POSITIONS, max_size=8))
def test_positions_survive_packing(positions):
    stored = domain.pack(positions)
    assert domain.unpack(stored) == positions
    assert len(stored) == 33 * len(positions)


ROOT = Scope("root", UUID(int=9))


@pytest.mark.parametrize(("at", "reason"), [(10, None), (11, "ahead"), (4, None), (3, "expired"), (5, None)])
def test_t17_t19_a_position_before_what_is_forgotten_or_behind_the_head(at, reason):
    heads = {ROOT: Head("viewer", 10, 4, Tally())}
    if reason is None:
        assert domain.plan({ROOT: Position(at)}, heads).behind == ([] if at == 10 else [ROOT])
        return
    with pytest.raises(ResyncRequiredError) as error:
        domain.plan({ROOT: Position(at)}, heads)
    modes = {"ahead": "upload_differences", "expired": "apply_differences"}
    assert error.value.extra == {"reason": reason, "mode": modes[reason]}


def test_t17_who_is_still_reading_a_scope_for_the_first_time_misses_no_removal():
    heads = {ROOT: Head("viewer", 10, 4, Tally())}
    assert domain.plan({ROOT: Position(1, entered_at=4)}, heads).behind == [ROOT], "it was never told of what went"


async def test_t22_a_cursor_of_another_user_or_device(people, device):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    mine, his = await device(ada), await device(bob)
    his.cursor, cursor = mine.cursor, his.cursor
    await refused(his, 403, "cursor_not_yours")
    his.cursor = cursor
    assert await his.pull() == []
    mine.cursor = mine.cursor[:-2] + ("AA" if mine.cursor[-2:] != "AA" else "BB")
    await refused(mine, 400, "cursor_invalid")


async def test_a_cursor_does_not_work_in_another_session_until_the_device_is_bound_to_it(people, device):
    ada = await people.person("Ada")
    laptop = await device(ada)
    again = await people.sign_in(ada)
    laptop.person = again
    await refused(laptop, 403, "cursor_not_yours")
    answer = await again.http.post("/v1/sync/bootstrap", json={"device_id": laptop.id})
    problem(answer, 403, "device_not_bound")
    await laptop.register()
    assert await laptop.pull() == []


async def test_t8_a_lost_answer_costs_nothing(people, device):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.held) == 3)
    before = laptop.cursor
    document = (await people.document(ada, workspace, "one\n"))["id"]
    async with asyncio.timeout(20):
        while not (lost := await laptop.post("pull", cursor=before))["changes"]:
            await asyncio.sleep(0.05)
    await save(ada, document, 1, "two\n")
    async with asyncio.timeout(20):
        while (again := await laptop.post("pull", cursor=before))["changes"][-1]["version"] == 1:
            await asyncio.sleep(0.05)
    assert again["cursor"] != lost["cursor"], "what two answers to one cursor tell is not the same"
    laptop.cursor = lost["cursor"]  # the first answer came after all
    assert [change["version"] for change in await laptop.pull()] == [2], "each goes on from what it told itself"
    laptop.cursor = lost["cursor"]
    assert [change["version"] for change in await laptop.pull()] == [2], "and a lost answer after that, too"
    laptop.cursor = before
    assert (await refused(laptop, 410, "resync_required"))["reason"] == "gone"


async def test_nothing_new_keeps_the_cursor(people, device):
    ada = await people.person("Ada")
    await people.workspace(ada)
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.held) == 3)
    cursor = laptop.cursor
    for _ in range(3):
        assert await laptop.pull() == []
    assert laptop.cursor == cursor


async def test_t19_after_a_restore_every_device_begins_again_and_hands_in_what_it_knows(people, device, log):
    ada = await people.person("Ada")
    laptop = await device(ada)
    [before] = await log.rows("SELECT epoch FROM sync.epoch")
    await log.rows("UPDATE sync.epoch SET epoch = gen_random_uuid() RETURNING epoch")
    try:
        told = await refused(laptop, 410, "resync_required")
        assert (told["reason"], told["mode"]) == ("epoch", "upload_differences")
        await laptop.bootstrap()
        assert await laptop.pull() == []
    finally:
        await log.rows("UPDATE sync.epoch SET epoch = %s RETURNING epoch", before["epoch"])


async def test_t19_a_head_that_went_back_is_noticed_without_anybody_saying_so(people, device, log):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    laptop = await device(ada)
    await laptop.until(lambda one: len(one.held) == 3)
    await log.rows("UPDATE sync.scope SET seq = seq - 1 WHERE id = %s RETURNING seq", workspace)
    assert (await refused(laptop, 410, "resync_required"))["reason"] == "ahead"
    await log.rows("UPDATE sync.scope SET seq = seq + 1 WHERE id = %s RETURNING seq", workspace)


async def test_t17_a_device_that_was_away_longer_than_removals_are_remembered(people, device, log):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    documents = [(await people.document(ada, workspace, f"{n}\n"))["id"] for n in range(2)]
    away, present = await device(ada), await device(ada)
    for one in (away, present):
        await one.until(lambda one: len(one.documents()) == 2)
    assert (await ada.http.delete(f"/v1/documents/{documents[0]}", headers={"If-Match": '"v1"'})).status_code == 204
    await present.until(lambda one: len(one.documents()) == 1)
    await log.rows(
        "UPDATE sync.item SET changed_at = now() - interval '91 days' WHERE id = %s AND gone RETURNING id", documents[0]
    )
    await log.rows("SELECT sync.forget_removals(90)")
    assert not await log.rows("SELECT id FROM sync.item WHERE id = %s", documents[0])
    told = await refused(away, 410, "resync_required")
    assert (told["reason"], told["mode"]) == ("expired", "apply_differences")
    assert await present.pull() == [], "who knew of it goes on"
    away.held = {}
    await away.bootstrap()
    assert set(away.documents()) == {documents[1]}
    away.compare()


async def test_a_device_that_was_away_for_months_begins_again(people, device, log):
    ada = await people.person("Ada")
    laptop = await device(ada)
    await log.rows(
        "UPDATE sync.cursor SET used_at = now() - interval '91 days' WHERE device_id = %s RETURNING nonce", laptop.id
    )
    await log.rows("SELECT sync.forget_removals(90)")
    assert (await refused(laptop, 410, "resync_required"))["mode"] == "apply_differences"
    await laptop.bootstrap()
    assert await laptop.pull() == []


async def test_bootstrap_goes_on_where_it_was(people):
    ada = await people.person("Ada")
    workspace = await people.workspace(ada)
    for n in range(6):
        await people.document(ada, workspace, f"{n}\n")
    laptop = await Device(ada).register()
    await laptop.bootstrap()
    async with asyncio.timeout(20):
        while len(laptop.documents()) < 6:
            await laptop.pull()
    first = await laptop.post("bootstrap", device_id=laptop.id, limit=2)
    assert first["cursor"] is None
    again = [await laptop.post("bootstrap", device_id=laptop.id, limit=2, page_token=first["page_token"]) for _ in "ab"]
    assert again[0]["items"] == again[1]["items"], "an answer that was lost is given again"
    laptop.cursor = first["page_token"]  # after a crash: the page before is all there is
    assert len(await laptop.pull()) + len(first["items"]) == len(laptop.held)


async def test_5000_roots(people, device, log):
    ada, bob = await people.person("Ada"), await people.person("Bob")
    workspace = await people.workspace(ada)
    await people.join(workspace, bob, "guest")
    laptop = await device(bob)
    await log.rows(
        "WITH new AS (SELECT gen_random_uuid() AS id FROM generate_series(1, 5000)), "
        "roots AS (INSERT INTO sync.access_root SELECT id, %s, 'document', %s, false, false, 1 FROM new), "
        "grants AS (INSERT INTO sync.access_grant SELECT id, %s, 'user', 'viewer' FROM new), "
        "scopes AS (INSERT INTO sync.scope (kind, id, seq, hash, items, checksum) "
        "SELECT 'root', id, 1, '\\x00', 1, 7 FROM new) INSERT INTO sync.item (scope_kind, scope_id, entity, id, "
        "seq, version, gone, checksum, content_hash, size, title, data, changed_at) "
        "SELECT 'root', id, 'document', id, 1, 1, false, 7, '', 0, 'T', "
        "'{\"content_version\": 1}', now() FROM new RETURNING id",
        workspace, workspace, bob.id,
    )  # fmt: skip
    token = laptop.cursor
    pages = 0
    while True:
        page = await laptop.post("pull", cursor=token, limit=2000)
        laptop.apply(page["changes"], page)
        token, pages = page["cursor"], pages + 1
        if not page["has_more"]:
            break
    assert len(laptop.documents()) == 5000
    assert len(token) < 200, "the cursor does not grow"
    assert pages == 3
    page = await laptop.post("pull", cursor=token)
    assert page["changes"] == []
    assert page["cursor"] == token
    await log.rows("DELETE FROM sync.access_grant WHERE principal_id = %s RETURNING root_id", bob.id)
    page = await laptop.post("pull", cursor=token)
    assert len(page["scopes_removed"]) == 5000
    assert str(uuid7()) not in page["scopes_removed"]
