"""The one write path: stale bases merge or say so, nothing accepted is lost, appends keep everybody's."""

import asyncio
from uuid import uuid4

import pytest

from common.testing.checks import problem
from common.testing.writing import edit, save, text, versions

LINES = "".join(f"paragraph {n} stands here\n\n" for n in range(60))


async def test_save_makes_a_version(people, place):
    document = await people.document(place.editor, place.id, "one\n")
    saved = (await save(place.editor, document["id"], 1, "two\n")).json()
    assert (saved["version"], saved["content_version"], saved["merged"], saved["size"]) == (2, 2, False, 4)
    assert await text(place.editor, document["id"]) == "two\n"


async def test_json_body_is_the_same_save(people, place):
    document = await people.document(place.editor, place.id, "one\n")
    path = f"/v1/documents/{document['id']}/content"
    saved = await place.editor.http.put(path, json={"content": "two\r\n"}, headers={"If-Match": 'W/"v1"'})
    assert saved.status_code == 200
    assert await text(place.editor, document["id"]) == "two\r\n"
    refused = await place.editor.http.put(
        path, content=b"x", headers={"If-Match": '"v2"', "Content-Type": "application/pdf"}
    )
    problem(refused, 415, "unsupported_media_type")
    wrong = await place.editor.http.put(path, json={"text": "x"}, headers={"If-Match": '"v2"'})
    problem(wrong, 422, "validation_error")


async def test_same_bytes_make_no_version(people, place):
    document = await people.document(place.editor, place.id, "one\n")
    saved = (await save(place.editor, document["id"], 1, "one\n")).json()
    assert (saved["version"], saved["merged"]) == (1, False)
    assert len(await versions(place.editor, document["id"])) == 1


async def test_disjoint_edits_on_one_base_merge_with_both_authors(people, place):
    document = await people.document(place.owner, place.id, LINES)
    first = LINES.replace("paragraph 3 stands", "paragraph 3 STANDS")
    second = LINES.replace("paragraph 40 stands", "paragraph 40 sits")
    await save(place.owner, document["id"], 1, first)
    merged = (await save(place.editor, document["id"], 1, second)).json()
    assert merged["merged"] is True
    expected = first.replace("paragraph 40 stands", "paragraph 40 sits")
    assert await text(place.owner, document["id"]) == expected
    newest = (await versions(place.owner, document["id"]))[0]
    assert (newest["origin"], newest["merged"]) == ("save", True)
    assert newest["base_version"] == 1
    assert set(newest["contributors"]) == {str(place.owner.id), str(place.editor.id)}
    assert newest["author_id"] == str(place.editor.id)


async def test_overlap_is_refused_with_the_current_version_and_stores_nothing(people, place):
    document = await people.document(place.owner, place.id, "colour\n")
    await save(place.owner, document["id"], 1, "color\n")
    refused = await save(place.editor, document["id"], 1, "couleur\n")
    body = problem(refused, 412, "edit_conflict")
    assert (body["version"], body["content_version"], body["conflicts"]) == (2, 2, 1)
    assert "hunks" not in body
    preview = problem(
        await save(place.editor, document["id"], 1, "couleur\n", Prefer="return=merge-preview"), 412, "edit_conflict"
    )
    assert any(hunk["conflict"] for hunk in preview["hunks"])
    assert len(await versions(place.owner, document["id"])) == 2


async def test_strict_handling_refuses_every_stale_base(people, place):
    document = await people.document(place.owner, place.id, LINES)
    await save(place.owner, document["id"], 1, LINES + "end\n")
    stale = LINES.replace("paragraph 3 ", "paragraph three ")
    problem(await save(place.editor, document["id"], 1, stale, Prefer="handling=strict"), 412, "version_stale")
    current = await save(place.editor, document["id"], 2, stale + "end\n", Prefer="handling=strict")
    assert current.status_code == 200


async def test_fifty_parallel_saves_on_stale_bases_lose_nothing(people, place):
    document = await people.document(place.owner, place.id, LINES)

    async def one(n):
        person = (place.owner, place.editor)[n % 2]
        return await save(person, document["id"], 1, LINES.replace(f"paragraph {n} ", f"paragraph {n} by-{n} "))

    answers = await asyncio.gather(*(one(n) for n in range(50)))
    assert [answer.status_code for answer in answers] == [200] * 50
    final = await text(place.owner, document["id"])
    assert [n for n in range(50) if f"paragraph {n} by-{n} " not in final] == []
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 52))
    assert [version["n"] for version in await versions(place.owner, document["id"])] == list(range(51, 1, -1))


async def test_parallel_appends_keep_all_even_identical_ones(people, place):
    document = await people.document(place.owner, place.id, "log\n")
    answers = await asyncio.gather(
        *(edit(place.editor, document["id"], 1, {"append": "same line\n"}) for _ in range(12)),
        *(edit(place.owner, document["id"], 1, {"prepend": "top\n"}) for _ in range(3)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await text(place.owner, document["id"]) == "top\n" * 3 + "log\n" + "same line\n" * 12


async def test_replayed_append_is_recognised_by_its_key(people, place):
    document = await people.document(place.owner, place.id, "log\n")
    key = {"Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(
        *(edit(place.editor, document["id"], 1, {"append": "once\n"}, headers=key) for _ in range(6))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await text(place.owner, document["id"]) == "log\nonce\n"


async def test_large_append_with_key_happens_once(people, place):
    document = await people.document(place.owner, place.id, "x" * 20_000 + "\n")
    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = await edit(place.editor, document["id"], 1, {"append": "once\n"}, headers=key)
        assert answer.status_code == 200
    assert (await text(place.owner, document["id"])).count("once") == 1


async def test_find_and_replace_applies_to_the_base_then_merges(people, place):
    document = await people.document(place.owner, place.id, LINES)
    await save(place.owner, document["id"], 1, LINES.replace("paragraph 50 ", "paragraph fifty "))
    answer = await edit(place.editor, document["id"], 1, {"find": "paragraph 9 stands", "replace": "paragraph 9 lies"})
    assert answer.json()["merged"] is True
    final = await text(place.owner, document["id"])
    assert "paragraph 9 lies" in final
    assert "paragraph fifty " in final


async def test_find_must_occur_exactly_once(people, place):
    document = await people.document(place.owner, place.id, "twice twice once\n")
    for find in ("never", "twice"):
        refused = await edit(place.editor, document["id"], 1, {"find": find, "replace": "x"})
        problem(refused, 422, "edit_not_applicable")
    ambiguous_shape = await edit(place.editor, document["id"], 1, {"find": "once", "append": "x"})
    problem(ambiguous_shape, 422, "validation_error")
    problem(await edit(place.editor, document["id"], 1), 422, "validation_error")
    assert await text(place.owner, document["id"]) == "twice twice once\n"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"nul \x00 byte", b"cut \xe2\x82"])
async def test_content_that_is_no_text_is_refused(people, place, content):
    document = await people.document(place.owner, place.id, "a\n")
    problem(await save(place.editor, document["id"], 1, content), 422, "content_not_text")
    assert await text(place.owner, document["id"]) == "a\n"
    assert len(await versions(place.owner, document["id"])) == 1


async def test_ten_megabytes_come_back_byte_for_byte(people, place):
    document = await people.document(place.owner, place.id, "a\n")
    content = ("0123456789abcdé\n" * 700_000)[: 10 * 1024 * 1024 - 700_000].encode()[: 10 * 1024 * 1024]
    saved = await save(place.editor, document["id"], 1, content)
    assert saved.status_code == 200
    assert (await text(place.owner, document["id"])).encode() == content


@pytest.mark.parametrize("size", [16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1])
async def test_both_sides_of_the_inline_limit(people, place, as_owner_role, size):
    content = (str(uuid4()) + "x" * size)[:size]
    document = await people.document(place.owner, place.id, content)
    row = await (
        await as_owner_role.execute(
            "SELECT data IS NULL AS outside FROM documents.body WHERE sha256 = %s", (document["content_hash"],)
        )
    ).fetchone()
    assert row["outside"] is (size >= 16 * 1024)
    assert await text(place.owner, document["id"]) == content
    assert (await save(place.editor, document["id"], 1, content + "\nmore")).status_code == 200
    assert await text(place.owner, document["id"]) == content + "\nmore"


async def test_large_bodies_merge_too(people, place):
    base = "".join(f"line {n} of a large document\n\n" for n in range(2_000))
    document = await people.document(place.owner, place.id, base)
    await save(place.owner, document["id"], 1, base.replace("line 10 of", "line ten of"))
    merged = await save(place.editor, document["id"], 1, base.replace("line 1900 of", "line nineteen hundred of"))
    assert merged.json()["merged"] is True
    final = await text(place.owner, document["id"])
    assert "line ten of" in final
    assert "line nineteen hundred of" in final


async def test_equal_bodies_are_stored_once_per_workspace(people, place, as_owner_role):
    content = f"shared {uuid4()}\n"
    first = await people.document(place.owner, place.id, content)
    second = await people.document(place.owner, place.id, content)
    assert first["content_hash"] == second["content_hash"]
    row = await (
        await as_owner_role.execute(
            "SELECT count(*) AS n FROM documents.body WHERE sha256 = %s", (first["content_hash"],)
        )
    ).fetchone()
    assert row["n"] == 1


async def test_every_change_leaves_its_event_in_the_outbox(people, place, as_owner_role):
    secret = f"secret-{uuid4()}"
    document = await people.document(place.owner, place.id, secret)
    await save(place.owner, document["id"], 1, secret + "\nmore\n")
    await place.owner.http.patch(f"/v1/documents/{document['id']}", json={"title": "T2"}, headers={"If-Match": '"v2"'})
    await place.owner.http.delete(f"/v1/documents/{document['id']}")
    await place.owner.http.post(f"/v1/documents/{document['id']}/restore")
    rows = await (
        await as_owner_role.execute(
            "SELECT type, aggregate_version, data, headers FROM documents.event WHERE aggregate_id = %s ORDER BY id",
            (document["id"],),
        )
    ).fetchall()
    assert [(row["type"].split(".")[2], row["aggregate_version"]) for row in rows] == [
        ("created", 1),
        ("updated", 2),
        ("updated", 3),
        ("trashed", 4),
        ("restored", 5),
    ]
    assert all(row["headers"]["actor"] == str(place.owner.id) for row in rows)
    assert all(row["headers"]["traceparent"] for row in rows)
    assert secret not in str(rows)
    from common.contracts import documents as contracts

    classes = [contracts.DocumentCreated, contracts.DocumentUpdated, contracts.DocumentUpdated,
               contracts.DocumentTrashed, contracts.DocumentRestored]  # fmt: skip
    for row, contract in zip(rows, classes, strict=True):
        assert row["type"] == contract.type
        assert contract.model_validate(row["data"], extra="forbid")


async def test_a_save_done_before_is_answered_as_it_was(people, place):
    document = await people.document(place.owner, place.id, "colour one\n")
    key = {"Idempotency-Key": str(uuid4())}
    first = await save(place.owner, document["id"], 1, "color one\n", **key)
    await save(place.editor, document["id"], 2, "couleur one\n")
    again = await save(place.owner, document["id"], 1, "color one\n", **key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert await text(place.owner, document["id"]) == "couleur one\n"


async def test_edits_and_restores_done_before_are_answered_as_they_were(people, place):
    document = await people.document(place.owner, place.id, "colour\n")
    path = f"/v1/documents/{document['id']}"
    edit_key, restore_key = {"Idempotency-Key": str(uuid4())}, {"Idempotency-Key": str(uuid4())}
    first = await edit(place.owner, document["id"], 1, {"find": "colour", "replace": "color"}, headers=edit_key)
    restore = {"If-Match": '"v2"', **restore_key}
    restored = await place.owner.http.post(f"{path}/versions/1/restore", headers=restore)
    assert restored.status_code == 200
    await place.owner.http.delete(path)
    again = await edit(place.owner, document["id"], 1, {"find": "colour", "replace": "color"}, headers=edit_key)
    assert again.content == first.content
    assert (await place.owner.http.post(f"{path}/versions/1/restore", headers=restore)).content == restored.content


async def test_parallel_duplicates_of_a_restore_all_get_its_answer(people, place):
    document = await people.document(place.owner, place.id, "one\n")
    await save(place.owner, document["id"], 1, "two\n")
    headers = {"If-Match": '"v2"', "Idempotency-Key": str(uuid4())}
    path = f"/v1/documents/{document['id']}/versions/1/restore"
    answers = await asyncio.gather(*(place.owner.http.post(path, headers=headers) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_appends_cannot_grow_a_document_past_what_a_save_may_carry(people, place):
    document = await people.document(place.owner, place.id, "a\n")
    six = "x" * (6 * 1024 * 1024)
    assert (await edit(place.owner, document["id"], 1, {"append": six})).status_code == 200
    refused = await edit(place.owner, document["id"], 1, {"append": six})
    problem(refused, 413, "document_too_large")
    assert len(await versions(place.owner, document["id"])) == 2


async def test_a_lost_body_is_unavailable_not_unknown(people, place, environment):
    from pathlib import Path

    document = await people.document(place.owner, place.id, f"{uuid4()}" + "x" * 20_000)
    path = f"/v1/documents/{document['id']}/content"
    stored = Path(environment["MDC_OBJECTS_DIR"]) / "bodies" / place.id / document["content_hash"]
    aside = stored.rename(stored.with_suffix(".aside"))
    problem(await place.owner.http.get(path), 503, "body_missing")
    aside.rename(stored)
    assert (await place.owner.http.get(path)).status_code == 200


async def test_other_requests_are_answered_while_a_large_document_is_edited(people, place):
    document = await people.document(place.owner, place.id, "".join(f"line {n}\n" for n in range(400_000)))
    edits = [{"find": f"line {n}\n", "replace": f"LINE {n}\n"} for n in range(399_000, 399_200)]
    clock = asyncio.get_running_loop().time
    working = asyncio.create_task(edit(place.owner, document["id"], 1, *edits))
    started, slowest = clock(), 0.0
    while not working.done():
        begun = clock()
        await place.editor.http.get(f"/v1/documents/{document['id']}")
        slowest = max(slowest, clock() - begun)
    assert (await working).status_code == 200
    took = clock() - started
    assert slowest < max(1.0, 0.85 * took), "whoever is blocked waits for all of it"


@pytest.mark.parametrize("base", ["0", "9"])
async def test_a_version_that_never_was(people, place, base):
    document = await people.document(place.owner, place.id, "a\n")
    problem(await save(place.owner, document["id"], int(base), "b\n"), 412, "version_unknown")


async def test_other_charsets_are_refused(people, place):
    document = await people.document(place.owner, place.id, "a\n")
    refused = await save(place.owner, document["id"], 1, "b\n", **{"Content-Type": "text/markdown; charset=iso-8859-1"})
    problem(refused, 415, "unsupported_media_type")
