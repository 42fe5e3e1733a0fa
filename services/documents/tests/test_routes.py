"""Create, read, list, metadata, trash: statuses, headers and bodies through HTTP."""

import asyncio
import hashlib
from base64 import b64encode
from uuid import uuid4

import pytest

from common.identifiers import uuid7
from common.testing.checks import problem


async def test_create_answers_head_and_location(place):
    answer = await place.editor.http.post(
        "/v1/documents", json={"workspace_id": place.id, "title": " Plan ", "content": "# Plan\n", "language": "de"}
    )
    assert answer.status_code == 201
    document = answer.json()
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["location"] == f"/v1/documents/{document['id']}"
    assert document["title"] == "Plan"
    assert (document["version"], document["content_version"], document["size"]) == (1, 1, 7)
    assert document["content_hash"] == hashlib.sha256(b"# Plan\n").hexdigest()
    assert document["abilities"] == {
        "enter": True, "read": True, "comment": True, "edit": True, "delete": True, "invite": False, "own": False,
        "manage": True,
    }  # fmt: skip
    assert (document["role"], document["restricted"], document["folder_id"]) == ("editor", False, None)


async def test_content_comes_back_byte_for_byte(people, place):
    content = "\ufeff# Ünïcode 漢字 🧑‍🚀\r\nmixed\nends\r\n\r\nlast line without end"
    document = await people.document(place.editor, place.id, content)
    answer = await place.viewer.http.get(f"/v1/documents/{document['id']}/content")
    assert answer.content == content.encode()
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert answer.headers["content-digest"] == f"sha-256=:{digest}:"


async def test_get_as_json_with_content_and_as_markdown(people, place):
    document = await people.document(place.editor, place.id, "hello\n")
    path = f"/v1/documents/{document['id']}"
    assert "content" not in (await place.editor.http.get(path)).json()
    assert (await place.editor.http.get(path, params={"include": "content"})).json()["content"] == "hello\n"
    assert (await place.editor.http.get(path, headers={"Accept": "text/markdown"})).text == "hello\n"


async def test_etag_of_json_names_viewer_and_rights_and_works_in_if_match(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    path = f"/v1/documents/{document['id']}"
    mine = (await place.editor.http.get(path)).headers["etag"]
    theirs = (await place.viewer.http.get(path)).headers["etag"]
    assert mine != theirs
    assert (await place.editor.http.get(path, headers={"If-None-Match": f"W/{mine}"})).status_code == 304
    assert (await place.viewer.http.get(path, headers={"If-None-Match": mine})).status_code == 200
    saved = await place.editor.http.put(f"{path}/content", content=b"b\n", headers={"If-Match": mine})
    assert saved.status_code == 200


async def test_content_not_modified(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    path = f"/v1/documents/{document['id']}/content"
    etag = (await place.editor.http.get(path)).headers["etag"]
    answer = await place.editor.http.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


async def test_client_made_id_is_kept_and_taken_only_once(place):
    body = {"workspace_id": place.id, "title": "Mine", "id": str(uuid7())}
    assert (await place.editor.http.post("/v1/documents", json=body)).json()["id"] == body["id"]
    problem(await place.editor.http.post("/v1/documents", json=body), 409, "document_exists")


async def test_idempotency_key_makes_one_document(place, as_owner_role):
    title = f"once {uuid4()}"
    body = {"workspace_id": place.id, "title": title}
    headers = {"Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(
        *(place.editor.http.post("/v1/documents", json=body, headers=headers) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["etag"] for answer in answers} == {'"v1"'}
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == [""] + ["true"] * 7
    row = await (
        await as_owner_role.execute("SELECT count(*) AS n FROM documents.document WHERE title = %s", (title,))
    ).fetchone()
    assert row["n"] == 1
    other = await place.editor.http.post("/v1/documents", json={**body, "title": "other"}, headers=headers)
    problem(other, 422, "idempotency_key_reused")
    theirs = await place.owner.http.post("/v1/documents", json=body, headers=headers)
    assert theirs.json()["id"] != answers[0].json()["id"]


async def test_large_document_with_idempotency_key_is_made_once(place):
    body = {"workspace_id": place.id, "title": "large", "content": "x" * 40_000}
    headers = {"Idempotency-Key": str(uuid4())}
    first, second = [await place.editor.http.post("/v1/documents", json=body, headers=headers) for _ in range(2)]
    assert first.status_code == 201
    assert first.content == second.content


@pytest.mark.parametrize("key", ["", "a" * 256, "tab\there"])
async def test_idempotency_key_must_be_short_and_printable(place, key):
    body = {"workspace_id": place.id, "title": "x"}
    answer = await place.editor.http.post("/v1/documents", json=body, headers={"Idempotency-Key": key})
    problem(answer, 400, "idempotency_key_invalid")


async def test_list_pages_are_exact_in_every_order(people, place):
    workspace = await people.workspace(place.owner, "Paged")
    made = [await people.document(place.owner, workspace, title=f"T{n:02}") for n in range(7)]
    for sort in ("-updated_at", "-created_at", "title"):
        seen, cursor = [], None
        while True:
            params = {"workspace_id": workspace, "limit": 3, "sort": sort} | ({"cursor": cursor} if cursor else {})
            answer = (await place.owner.http.get("/v1/documents", params=params)).json()
            seen += [item["id"] for item in answer["items"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        expected = [document["id"] for document in made]
        assert seen == (expected if sort == "title" else expected[::-1])


async def test_list_filters(people, place):
    workspace = await people.workspace(place.owner, "Filtered")
    await people.document(place.owner, workspace, title="Budget 100%")
    late = await people.document(place.owner, workspace, title="Minutes")
    http = place.owner.http

    async def titles(**params):
        answer = await http.get("/v1/documents", params={"workspace_id": workspace, **params})
        return [item["title"] for item in answer.json()["items"]]

    assert await titles(q_title="budget") == ["Budget 100%"]
    assert await titles(q_title="0%") == ["Budget 100%"]
    assert await titles(q_title="%") == ["Budget 100%"]
    assert await titles(updated_since=late["updated_at"]) == ["Minutes"]
    assert await titles(state="trashed") == []


async def test_list_of_an_empty_workspace_is_empty_and_of_a_foreign_one_404(people, place):
    workspace = await people.workspace(place.owner, "Empty")
    mine = await place.owner.http.get("/v1/documents", params={"workspace_id": workspace})
    assert mine.json() == {"items": [], "next_cursor": None}
    theirs = await place.stranger.http.get("/v1/documents", params={"workspace_id": workspace})
    problem(theirs, 404, "workspace_not_found")
    nowhere = await place.stranger.http.get("/v1/documents", params={"workspace_id": str(uuid4())})
    problem(nowhere, 404, "workspace_not_found")


@pytest.mark.parametrize("cursor", ["x", "bm9wZQ", "W10", "WyJhIiwiYiJd", "%00"])
async def test_forged_cursor(place, cursor):
    answer = await place.owner.http.get("/v1/documents", params={"workspace_id": place.id, "cursor": cursor})
    problem(answer, 400, "cursor_invalid")


async def test_metadata_merges_per_field(people, place):
    document = await people.document(place.editor, place.id, "a\n", title="Old")
    path = f"/v1/documents/{document['id']}"
    first = await place.editor.http.patch(path, json={"title": "New"}, headers={"If-Match": '"v1"'})
    assert (first.json()["title"], first.json()["version"], first.json()["content_version"]) == ("New", 2, 1)
    other = await place.owner.http.patch(path, json={"language": "fr"}, headers={"If-Match": '"v1"'})
    assert (other.json()["title"], other.json()["language"], other.json()["version"]) == ("New", "fr", 3)
    stale = await place.owner.http.patch(path, json={"title": "Mine"}, headers={"If-Match": '"v1"'})
    assert problem(stale, 412, "version_stale")["fields"] == ["title"]
    same = await place.owner.http.patch(path, json={"title": "New"}, headers={"If-Match": '"v1"'})
    assert same.json()["version"] == 3


async def test_a_renamed_document_still_takes_content_saves_from_before(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    path = f"/v1/documents/{document['id']}"
    await place.owner.http.patch(path, json={"title": "Renamed"}, headers={"If-Match": '"v1"'})
    saved = await place.editor.http.put(f"{path}/content", content=b"b\n", headers={"If-Match": '"v1"'})
    assert (saved.status_code, saved.json()["merged"], saved.json()["version"]) == (200, False, 3)


async def test_if_match_is_required_and_must_be_ours(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    path = f"/v1/documents/{document['id']}"
    problem(await place.editor.http.patch(path, json={"title": "x"}), 428, "precondition_required")
    problem(await place.editor.http.put(f"{path}/content", content=b"x"), 428, "precondition_required")
    edit = {"edits": [{"append": "x"}]}
    problem(await place.editor.http.patch(f"{path}/content", json=edit), 428, "precondition_required")
    for value in ("*", "v1", '"1"', '"v1", "v2"', '"v99999999999999999999"', ""):
        answer = await place.editor.http.put(f"{path}/content", content=b"x", headers={"If-Match": value})
        problem(answer, 400, "if_match_invalid")
    ahead = await place.editor.http.put(f"{path}/content", content=b"x", headers={"If-Match": '"v9"'})
    problem(ahead, 412, "version_unknown")
    assert (await place.editor.http.get(f"{path}/content")).text == "a\n"


async def test_trash_and_restore(people, place):
    document = await people.document(place.editor, place.id, "a\n", title="Gone")
    path = f"/v1/documents/{document['id']}"
    stale = await place.editor.http.delete(path, headers={"If-Match": '"v0"'})
    problem(stale, 412, "version_unknown")
    assert (await place.editor.http.delete(path)).status_code == 204
    assert (await place.editor.http.delete(path)).status_code == 204
    assert (await place.editor.http.get(path)).json()["trashed_at"] is not None
    listed = await place.editor.http.get("/v1/documents", params={"workspace_id": place.id, "q_title": "Gone"})
    assert listed.json()["items"] == []
    trash = await place.editor.http.get(
        "/v1/documents", params={"workspace_id": place.id, "q_title": "Gone", "state": "trashed"}
    )
    assert [item["id"] for item in trash.json()["items"]] == [document["id"]]
    refused = await place.editor.http.put(f"{path}/content", content=b"b\n", headers={"If-Match": '"v2"'})
    problem(refused, 409, "document_trashed")
    renamed = await place.editor.http.patch(path, json={"title": "x"}, headers={"If-Match": '"v2"'})
    problem(renamed, 409, "document_trashed")
    back = await place.editor.http.post(f"{path}/restore")
    assert (back.json()["trashed_at"], back.json()["version"]) == (None, 3)
    assert (await place.editor.http.post(f"{path}/restore")).json()["version"] == 3


async def test_permanent_deletion_is_not_mistaken_for_trashing(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    for query, status, code in (
        ({"permanent": "true"}, 409, "document_not_trashed"),
        ({"permanent": "maybe"}, 422, "validation_error"),
        ({"forever": "true"}, 422, "validation_error"),
    ):
        problem(await place.editor.http.delete(f"/v1/documents/{document['id']}", params=query), status, code)
    assert (await place.editor.http.get(f"/v1/documents/{document['id']}")).json()["trashed_at"] is None


WRITES = [
    ("PUT", "/content", {"content": b"x\n"}),
    ("PATCH", "/content", {"json": {"edits": [{"append": "x"}]}}),
    ("PATCH", "", {"json": {"title": "x"}}),
    ("DELETE", "", {}),
    ("POST", "/restore", {}),
    ("POST", "/versions/1/restore", {}),
]
READS = [
    ("GET", path, {})
    for path in ("", "/content", "/versions", "/versions/1", "/versions/1/content", "/versions/1/diff")
]


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES, *READS])
async def test_rights_of_every_role(people, place, method, path, body):
    document = await people.document(place.owner, place.id, "a\n")
    url = f"/v1/documents/{document['id']}{path}"
    headers = {"If-Match": '"v1"'} if method != "GET" else {}
    for person in (place.viewer, place.commenter):
        answer = await person.http.request(method, url, headers=headers, **body)
        if method == "GET":
            assert answer.status_code == 200
        else:
            problem(answer, 403, "role_insufficient")
    problem(await place.stranger.http.request(method, url, headers=headers, **body), 404, "document_not_found")
    problem(await people.client().request(method, url, headers=headers, **body), 401, "unauthorized")
    assert (await place.owner.http.get(f"/v1/documents/{document['id']}")).json()["version"] == 1
    allowed = await place.editor.http.request(method, url, headers=headers, **body)
    assert allowed.status_code in (200, 204)


async def test_only_editors_create(people, place):
    body = {"workspace_id": place.id, "title": "x"}
    for content in ("", "x" * 20_000):
        for person in (place.viewer, place.commenter):
            problem(
                await person.http.post("/v1/documents", json={**body, "content": content}), 403, "role_insufficient"
            )
        stranger = await place.stranger.http.post("/v1/documents", json={**body, "content": content})
        problem(stranger, 404, "workspace_not_found")
    problem(await people.client().post("/v1/documents", json=body), 401, "unauthorized")


async def test_changed_role_and_removal_bite_at_once(people, place):
    workspace = await people.workspace(place.owner, "Revoked")
    person = await people.person("Temp")
    await people.join(workspace, person, "editor")
    document = await people.document(person, workspace, "a\n")
    path = f"/v1/documents/{document['id']}"
    members = f"/v1/workspaces/{workspace}/members/{person.id}"
    assert (await place.owner.http.patch(members, json={"role": "viewer"})).status_code == 200
    await asyncio.sleep(0.2)
    problem(
        await person.http.put(f"{path}/content", content=b"b\n", headers={"If-Match": '"v1"'}), 403, "role_insufficient"
    )
    assert (await place.owner.http.patch(members, json={"role": "admin"})).status_code == 200
    await asyncio.sleep(0.2)
    assert (await person.http.get(path)).json()["abilities"]["manage"] is True
    assert (await place.owner.http.delete(members)).status_code == 204
    await asyncio.sleep(0.2)
    problem(await person.http.get(path), 404, "document_not_found")
    listed = await person.http.get("/v1/documents", params={"workspace_id": workspace})
    problem(listed, 404, "workspace_not_found")


BAD_BODIES = [
    (b"{", 400, "malformed_json"),
    (b"\xff\xfe", 400, "malformed_json"),
    (b"[" * 100_000, 400, "malformed_json"),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400, "malformed_json"),
    (b"[]", 422, "validation_error"),
    (b'"text"', 422, "validation_error"),
    (b'{"title": "x"}', 422, "validation_error"),
    (b'{"workspace_id": 7, "title": "x"}', 422, "validation_error"),
    (b'{"workspace_id": "not-a-uuid", "title": "x"}', 422, "validation_error"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES)
async def test_bad_json(place, body, status, code):
    answer = await place.editor.http.post("/v1/documents", content=body, headers={"Content-Type": "application/json"})
    problem(answer, status, code)


BAD_FIELDS = [
    {"title": "x" * 10_000},
    {"title": "line\nbreak"},
    {"title": "nul\0"},
    {"title": "\ud800"},
    {"title": None},
    {"title": "x", "content": "nul\0"},
    {"title": "x", "content": "\ud800"},
    {"title": "x", "content": 5},
    {"title": "x", "surprise": 1},
    {"title": "x", "\ud800": 1},
    {"title": "x", "kind": "docx"},
    {"title": "x", "language": "a b"},
    {"title": "x", "id": "00000000-0000-0000-0000-000000000000"},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=range(len(BAD_FIELDS)))
async def test_bad_fields_store_nothing(place, as_owner_role, fields):
    import json

    count = "SELECT count(*) AS n FROM documents.document"
    before = (await (await as_owner_role.execute(count)).fetchone())["n"]
    answer = await place.editor.http.post(
        "/v1/documents",
        content=json.dumps({"workspace_id": place.id, **fields}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert problem(answer, 422, "validation_error")["errors"]
    assert (await (await as_owner_role.execute(count)).fetchone())["n"] == before


async def test_body_over_the_limit_is_refused_unread(people, place):
    document = await people.document(place.editor, place.id, "a\n")
    path = f"/v1/documents/{document['id']}/content"
    too_large = b"x" * (10 * 1024 * 1024 + 1)
    declared = await place.editor.http.put(path, content=too_large, headers={"If-Match": '"v1"'})
    problem(declared, 413, "body_too_large")

    async def chunks():
        for start in range(0, len(too_large), 1 << 20):
            yield too_large[start : start + (1 << 20)]

    streamed = await place.editor.http.put(path, content=chunks(), headers={"If-Match": '"v1"'})
    problem(streamed, 413, "body_too_large")
    assert (await place.editor.http.get(path)).text == "a\n"


@pytest.mark.parametrize("path", ["/v1/documents/7", "/v1/documents/%00", "/v1/documents/a/b/c"])
async def test_odd_paths(place, path):
    answer = await place.editor.http.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_method(place):
    problem(await place.editor.http.put("/v1/documents", json={}), 405, "method_not_allowed")


FAIL_AT_COMMIT = """
    CREATE FUNCTION documents.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no commit today'; END $$;
    CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON documents.document DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.title = 'fails at commit') EXECUTE FUNCTION documents.fail()"""


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": str(uuid4())}], ids=["one statement", "a transaction"])
async def test_a_failing_commit_is_not_a_201(place, as_owner_role, headers):
    body = {"workspace_id": place.id, "title": "fails at commit", "id": str(uuid7())}
    await as_owner_role.execute(FAIL_AT_COMMIT)
    try:
        problem(await place.editor.http.post("/v1/documents", json=body, headers=headers), 500, "internal_error")
    finally:
        await as_owner_role.execute("DROP TRIGGER fail ON documents.document; DROP FUNCTION documents.fail()")
    problem(await place.editor.http.get(f"/v1/documents/{body['id']}"), 404, "document_not_found")
    assert (await place.editor.http.post("/v1/documents", json=body, headers=headers)).status_code == 201


async def test_lists_run_a_constant_number_of_statements(people, place, fleet, monkeypatch):
    from common.database import Transaction

    workspace = await people.workspace(place.owner, "Counted")
    statements = []

    def counting(run):
        async def counted(self, statement, params=None):
            if self._user_id == place.owner.id:  # consumers are at work in this process too
                statements.append(statement)
            return await run(self, statement, params)

        return counted

    async def count():
        statements.clear()
        await place.owner.http.get("/v1/documents", params={"workspace_id": workspace})
        return len(statements)

    await people.document(place.owner, workspace)
    for name in ("execute", "single"):
        monkeypatch.setattr(Transaction, name, counting(getattr(Transaction, name)))
    few = await count()
    for _ in range(5):
        await people.document(place.owner, workspace)
    assert await count() == few == 1


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
async def test_dates_outside_the_calendar(place, since):
    answer = await place.owner.http.get("/v1/documents", params={"workspace_id": place.id, "updated_since": since})
    problem(answer, 422, "value_not_storable")


async def test_long_titles_are_listed_to_the_end(people, place):
    """The cursor holds a title (a reviewer's find: 500 characters of it were cut off)."""
    workspace = await people.workspace(place.owner, "Long titles")
    titles = [letter * 500 for letter in "aé🙂b"]
    for title in titles:
        await people.document(place.owner, workspace, title=title)
    seen, cursor = [], None
    while True:
        params = {"workspace_id": workspace, "limit": 1, "sort": "title"} | ({"cursor": cursor} if cursor else {})
        page = (await place.owner.http.get("/v1/documents", params=params)).json()
        seen += [item["title"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(titles)


async def test_titles_sort_as_readers_expect(people, place):
    workspace = await people.workspace(place.owner, "Sorted")
    for title in ("Zebra", "apple", "Ünder", "Banana", "über"):
        await people.document(place.owner, workspace, title=title)
    page = await place.owner.http.get("/v1/documents", params={"workspace_id": workspace, "sort": "title"})
    assert [item["title"] for item in page.json()["items"]] == ["apple", "Banana", "über", "Ünder", "Zebra"]


async def test_a_key_used_with_another_media_type_is_another_request(place, people):
    document = await people.document(place.owner, place.id)
    headers = {"If-Match": '"v1"', "Idempotency-Key": document["id"]}
    path, body = f"/v1/documents/{document['id']}/content", b'{"content":"json"}'
    first = await place.owner.http.put(path, content=body, headers={**headers, "Content-Type": "text/markdown"})
    assert first.status_code == 200
    second = await place.owner.http.put(path, content=body, headers={**headers, "Content-Type": "application/json"})
    problem(second, 422, "idempotency_key_reused")


async def test_head_answers_what_get_would_without_the_body(place, people):
    document = await people.document(place.owner, place.id, "text\n")
    path = f"/v1/documents/{document['id']}/content"
    read, head = await place.owner.http.get(path), await place.owner.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == read.headers["ETag"]
    assert head.headers["Content-Length"] == read.headers["Content-Length"]
