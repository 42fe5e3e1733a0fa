"""Workspaces and members: who may do what, and how fast a changed right is felt by documents."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest

from common.access import Role
from common.pagination import encode

MEMBERS = [role.value for role in Role]


@pytest.fixture
def within_a_second(refused):
    """Asks until the answer has this status and code; a changed right has a second to get everywhere."""

    async def ask(request, status, code):
        async with asyncio.timeout(1):
            while (answer := await request()).status_code != status:
                await asyncio.sleep(0.01)
        return refused(answer, status, code) if code else answer

    return ask


@pytest.fixture
async def team(people):
    """A workspace of Ada's with one more member of any role."""

    async def make(role):
        ada, other = await people.person(), await people.person("Bob")
        workspace = await people.workspace(ada)
        await people.join(workspace, other, role)
        return ada, other, workspace

    return make


# Workspaces


async def test_creating_answers_the_workspace_and_makes_the_caller_owner(people, owner):
    ada = await people.person()
    answer = await ada.http.post("/v1/workspaces", json={"name": "  Notes ✎ "})
    assert answer.status_code == 201
    workspace = answer.json()
    assert workspace.keys() == {
        "id", "name", "version", "role", "abilities", "allowed_domains", "trash_days", "mfa_required", "ai_models",
        "created_at", "updated_at", "deleted_at", "purge_at",
    }  # fmt: skip
    assert (workspace["name"], workspace["version"], workspace["role"]) == ("Notes ✎", 1, "owner")
    assert all(workspace["abilities"].values())
    assert answer.headers["ETag"] == '"v1"'
    assert UUID(workspace["id"]).version == 7
    read = await ada.http.get(answer.headers["Location"])
    assert (read.json(), read.headers["ETag"]) == (workspace, '"v1"')
    events = await owner(
        "SELECT type, data, headers->>'actor' FROM auth_gateway.event WHERE data->>'workspace_id' = %s ORDER BY id",
        workspace["id"],
    )
    assert [event[0] for event in events] == [
        "auth-gateway.workspace.created.v1",
        "auth-gateway.membership.changed.v1",
    ]
    assert {event[2] for event in events} == {str(ada.id)}


async def test_renaming_needs_the_version_seen_if_one_is_named(people, refused):
    ada = await people.person()
    path = f"/v1/workspaces/{await people.workspace(ada)}"
    renamed = await ada.http.patch(path, json={"name": "Second"}, headers={"If-Match": '"v1"'})
    assert (renamed.status_code, renamed.json()["name"], renamed.headers["ETag"]) == (200, "Second", '"v2"')
    stale = await ada.http.patch(path, json={"name": "Third"}, headers={"If-Match": '"v1"'})
    assert refused(stale, 412, "precondition_failed")["version"] == 2
    weak = await ada.http.patch(path, json={"name": "Third"}, headers={"If-Match": 'W/"v2"'})
    assert (weak.status_code, weak.headers["ETag"]) == (200, '"v3"')
    same = await ada.http.patch(path, json={"name": "Third"})
    assert (same.status_code, same.json()["version"]) == (200, 3)
    for invalid in ("*", "v3", '"v3", "v2"', '"v-1"', '"x"', ""):
        answer = await ada.http.patch(path, json={"name": "Fourth"}, headers={"If-Match": invalid})
        refused(answer, 400, "if_match_invalid")
    assert (await ada.http.get(path)).json()["name"] == "Third"


async def test_of_parallel_renames_of_one_version_one_wins(people):
    ada = await people.person()
    for _ in range(4):  # the first round may only fill the connection pool
        path = f"/v1/workspaces/{await people.workspace(ada)}"
        answers = await asyncio.gather(
            *(ada.http.patch(path, json={"name": f"Name {n}"}, headers={"If-Match": '"v1"'}) for n in range(6))
        )
        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
        [winner] = [answer for answer in answers if answer.status_code == 200]
        assert (await ada.http.get(path)).json() == winner.json()


async def test_lists_come_in_exact_pages(people):
    ada = await people.person()
    names = ["e", "b", "b", "a", "d", "ä", "C"]
    made = [await people.workspace(ada, name) for name in names]
    await people.workspace(await people.person(), "of somebody else")
    seen, sizes, cursor = [], [], None
    while True:
        page = (
            await ada.http.get("/v1/workspaces", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [item["id"] for item in page["items"]]
        sizes.append(len(page["items"]))
        if not (cursor := page["next_cursor"]):
            break
    assert sizes == [3, 3, 1]
    assert sorted(seen) == sorted(made)
    assert seen[2:4] == sorted(made[1:3])  # C, a, then the two b by id
    exact = (await ada.http.get("/v1/workspaces", params={"limit": 7})).json()
    assert (len(exact["items"]), exact["next_cursor"]) == (7, None)


async def test_members_come_in_pages_in_the_order_they_joined(people):
    ada = await people.person()
    workspace = await people.workspace(ada)
    joined = [ada]
    for name in ("Bob", "Cy", "Di"):
        joined.append(await people.person(name))
        await people.join(workspace, joined[-1], "viewer")
    path = f"/v1/workspaces/{workspace}/members"
    first = (await joined[2].http.get(path, params={"limit": 2})).json()
    second = (await joined[2].http.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["user_id"] for item in first["items"] + second["items"]] == [str(person.id) for person in joined]
    assert second["next_cursor"] is None
    assert first["items"][0].keys() == {"user_id", "email", "display_name", "role", "suspended", "joined_at"}
    assert (first["items"][0]["role"], first["items"][0]["email"]) == ("owner", ada.email)


GARBAGE = [
    "x", "ä", "💥", "%00", "e30", "W1tbW1tb", encode(), encode("a"), encode(None, None), encode(1, 2), encode("a", 5),
    encode("a", "b"), encode("a", str(uuid4()), 1), encode("a\0b", str(uuid4())), encode("2026-01-01", {}),
    encode("\0"), encode("2026-01-01", "\0"),
]  # fmt: skip
MADE_BY_SOME_LIST = [
    encode("9999-99-99", str(uuid4())), encode("0001-01-01T00:00:00+14:00", str(uuid4())), encode(str(uuid4())),
    encode(2**63, str(uuid4())), encode({"a": 1}, str(uuid4())),
]  # fmt: skip


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", "9" * 30, ""])
async def test_limits_are_1_to_200(people, refused, limit):
    ada = await people.person()
    refused(await ada.http.get("/v1/workspaces", params={"limit": limit}), 422, "validation_error")


async def test_garbage_is_no_cursor(people, refused):
    ada = await people.person()
    workspace = await people.workspace(ada)
    for path in ("/v1/workspaces", f"/v1/workspaces/{workspace}/members", f"/v1/workspaces/{workspace}/invitations"):
        for cursor in GARBAGE:
            refused(await ada.http.get(path, params={"cursor": cursor}), 400, "cursor_invalid")
        for cursor in MADE_BY_SOME_LIST:
            assert (await ada.http.get(path, params={"cursor": cursor})).status_code in (200, 400), (path, cursor)
        refused(await ada.http.get(path, params={"cursor": "x" * 4001}), 422, "validation_error")


# Idempotency


async def test_a_repeated_key_answers_what_the_first_one_did(people, owner, refused):
    ada, eve = await people.person(), await people.person("Eve")
    headers = {"Idempotency-Key": str(uuid4())}
    first = await ada.http.post("/v1/workspaces", json={"name": "Once"}, headers=headers)
    again = await ada.http.post("/v1/workspaces", json={"name": "Once"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert (again.headers["ETag"], again.headers["Location"]) == (first.headers["ETag"], first.headers["Location"])
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await ada.http.post("/v1/workspaces", json={"name": "Another"}, headers=headers)
    refused(other, 422, "idempotency_key_reused")
    assert (await eve.http.post("/v1/workspaces", json={"name": "Hers"}, headers=headers)).status_code == 201
    assert len(await owner("SELECT 1 FROM auth_gateway.workspace WHERE created_by = %s", ada.id)) == 1


async def test_parallel_requests_of_one_key_make_one_workspace(people, owner):
    ada = await people.person()
    headers = {"Idempotency-Key": "parallel"}
    answers = await asyncio.gather(
        *(ada.http.post("/v1/workspaces", json={"name": "Once"}, headers=headers) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 5
    assert len(await owner("SELECT 1 FROM auth_gateway.workspace WHERE created_by = %s", ada.id)) == 1


async def test_a_failed_request_does_not_use_its_key_up(people, refused):
    ada = await people.person()
    headers = {"Idempotency-Key": "again"}
    refused(await ada.http.post("/v1/workspaces", json={"name": ""}, headers=headers), 422, "validation_error")
    assert (await ada.http.post("/v1/workspaces", json={"name": "x"}, headers=headers)).status_code == 201
    for invalid in (b"", b"x" * 256, b"\xff", "\u00e9".encode()):
        answer = await ada.http.post("/v1/workspaces", json={"name": "x"}, headers=[(b"Idempotency-Key", invalid)])
        refused(answer, 400, "idempotency_key_invalid")


# Roles

EVERYBODY, ADMINS, OWNERS = [200] * 5 + [403], [200, 200, *[403] * 4], [200, *[403] * 5]
MATRIX = [  # method, path, body, statuses of owner, admin, editor, commenter, viewer, guest
    ("GET", "", None, [200] * 6),
    ("PATCH", "", {"name": "New"}, ADMINS),
    ("GET", "/members", None, EVERYBODY),
    ("PATCH", "/members/{target}", {"role": "commenter"}, ADMINS),
    ("PATCH", "/members/{target}", {"role": "admin"}, ADMINS),
    ("PATCH", "/members/{target}", {"role": "owner"}, OWNERS),
    ("PATCH", "/members/{root}", {"role": "owner"}, OWNERS),
    ("PATCH", "/members/{root}", {"role": "viewer"}, OWNERS),
    ("GET", "/invitations", None, ADMINS),
    ("POST", "/invitations", {"email": "{fresh}"}, [201, 201, *[403] * 4]),
    ("POST", "/invitations", {"email": "{fresh}", "role": "admin"}, [201, 201, *[403] * 4]),
    ("POST", "/invitations", {"email": "{fresh}", "role": "owner"}, [201, *[403] * 5]),
    ("DELETE", "/invitations/{invitation}", None, [204, 204, *[403] * 4]),
    ("DELETE", "/members/{root}", None, [204, *[403] * 5]),
    ("DELETE", "/members/{target}", None, [204, 204, *[403] * 4]),
    ("DELETE", "/members/{me}", None, [204] * 6),
]


@pytest.mark.parametrize("who", [*MEMBERS, "stranger", "anonymous"])
async def test_every_role_on_every_route(people, visitor, owner, refused, who):
    root, keeper, actor, target = [await people.person(name) for name in ("Root", "Keeper", "Actor", "Target")]
    http = visitor() if who == "anonymous" else actor.http

    async def stage():
        workspace = await people.workspace(root)
        await people.join(workspace, keeper, "owner")
        await people.join(workspace, target, "viewer")
        if who in MEMBERS:
            await people.join(workspace, actor, who)
        path = f"/v1/workspaces/{workspace}/invitations"
        sent = await root.http.post(path, json={"email": f"{uuid4()}@example.org"})
        return workspace, sent.json()["id"]

    state = (
        "SELECT (SELECT sum(version) FROM auth_gateway.member WHERE workspace_id = w.id), version, "
        "(SELECT array_agg(i) FROM auth_gateway.invitation i WHERE workspace_id = w.id) "
        "FROM auth_gateway.workspace w WHERE id = %s"
    )
    workspace, invitation = await stage()
    before = await owner(state, workspace)
    got = []
    for method, path, template, _ in MATRIX:
        filled = path.format(target=target.id, root=root.id, me=actor.id, invitation=invitation)
        fresh = f"{uuid4()}@example.org"
        body = template and {name: value.format(fresh=fresh) for name, value in template.items()}
        answer = await http.request(method, f"/v1/workspaces/{workspace}{filled}", json=body)
        got.append(answer.status_code)
        if answer.is_error:
            code = {401: "unauthorized", 403: "role_insufficient", 404: "workspace_not_found"}[answer.status_code]
            refused(answer, answer.status_code, code)
        elif method != "GET":
            workspace, invitation = await stage()
            before = await owner(state, workspace)
    assert got == [{"stranger": 404, "anonymous": 401}.get(who) or row[3][MEMBERS.index(who)] for row in MATRIX]
    assert await owner(state, workspace) == before, "refused, yet something changed"


async def test_what_strangers_and_visitors_get_without_a_workspace(people, visitor, refused):
    stranger = await people.person()
    assert (await stranger.http.get("/v1/workspaces")).json() == {"items": [], "next_cursor": None}
    refused(await stranger.http.get(f"/v1/workspaces/{uuid4()}"), 404, "workspace_not_found")
    refused(await visitor().get("/v1/workspaces"), 401, "unauthorized")
    refused(await visitor().post("/v1/workspaces", json={"name": "x"}), 401, "unauthorized")


async def test_abilities_tell_what_a_role_may(team):
    _, bob, workspace = await team("commenter")
    read = (await bob.http.get(f"/v1/workspaces/{workspace}")).json()
    assert read["role"] == "commenter"
    assert {name for name, may in read["abilities"].items() if may} == {"enter", "read", "comment"}


async def test_nobody_who_is_no_member_can_be_changed(team, people, refused):
    ada, bob, workspace = await team("viewer")
    stranger = await people.person("Eve")
    for target in (stranger.id, uuid4()):
        path = f"/v1/workspaces/{workspace}/members/{target}"
        refused(await ada.http.patch(path, json={"role": "admin"}), 404, "member_not_found")
        refused(await ada.http.delete(path), 404, "member_not_found")
    path = f"/v1/workspaces/{workspace}/members/{bob.id}"
    assert (await ada.http.delete(path)).status_code == 204
    refused(await ada.http.delete(path), 404, "member_not_found")
    refused(await ada.http.patch(path, json={"role": "admin"}), 404, "member_not_found")
    for role in ("Owner", "god", "", None, 1, ["owner"]):
        refused(await ada.http.patch(path, json={"role": role}), 422, "validation_error")


async def test_a_changed_role_is_answered_and_told(team, owner):
    ada, bob, workspace = await team("viewer")
    path = f"/v1/workspaces/{workspace}/members/{bob.id}"
    for _ in range(2):  # the same role again changes nothing
        answer = await ada.http.patch(path, json={"role": "editor"})
        assert answer.status_code == 200
        assert (answer.json()["user_id"], answer.json()["role"]) == (str(bob.id), "editor")
    rows = await owner(
        "SELECT data->>'role', aggregate_version FROM auth_gateway.event WHERE data->>'user_id' = %s "
        "AND type = 'auth-gateway.membership.changed.v1'",
        str(bob.id),
    )
    assert rows == [("editor", 2)]


# The last owner


async def test_the_last_owner_stays(team, refused):
    ada, bob, workspace = await team("admin")
    path = f"/v1/workspaces/{workspace}/members/{ada.id}"
    refused(await ada.http.delete(path), 409, "last_owner")
    refused(await ada.http.patch(path, json={"role": "admin"}), 409, "last_owner")
    assert (await ada.http.patch(path, json={"role": "owner"})).status_code == 200
    other = f"/v1/workspaces/{workspace}/members/{bob.id}"
    assert (await ada.http.patch(other, json={"role": "owner"})).status_code == 200
    assert (await ada.http.delete(path)).status_code == 204
    refused(await bob.http.patch(other, json={"role": "viewer"}), 409, "last_owner")


async def test_of_two_owners_leaving_at_the_same_moment_one_stays(team):
    for _ in range(5):
        ada, bob, workspace = await team("owner")
        answers = await asyncio.gather(
            *(person.http.delete(f"/v1/workspaces/{workspace}/members/{person.id}") for person in (ada, bob))
        )
        assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_of_two_owners_demoting_each_other_one_stays(team):
    for _ in range(5):
        ada, bob, workspace = await team("owner")
        answers = await asyncio.gather(
            *(
                one.http.patch(f"/v1/workspaces/{workspace}/members/{other.id}", json={"role": "viewer"})
                for one, other in ((ada, bob), (bob, ada))
            )
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])


# What documents notice


async def test_a_removed_member_is_out_of_documents_within_a_second(team, people, within_a_second, refused):
    ada, bob, workspace = await team("editor")
    document = await people.document(ada, workspace, "# Secret\n")
    reads = (
        lambda: bob.http.get(f"/v1/documents?workspace_id={workspace}"),
        lambda: bob.http.get(f"/v1/documents/{document['id']}"),
        lambda: bob.http.get(f"/v1/documents/{document['id']}/content"),
    )
    assert [(await read()).status_code for read in reads] == [200] * 3
    assert (await ada.http.delete(f"/v1/workspaces/{workspace}/members/{bob.id}")).status_code == 204
    refused(await bob.http.get(f"/v1/workspaces/{workspace}"), 404, "workspace_not_found")
    await within_a_second(reads[1], 404, "document_not_found")
    assert [(await read()).status_code for read in reads] == [404] * 3
    write = await bob.http.put(
        f"/v1/documents/{document['id']}/content",
        content="mine",
        headers={"If-Match": '"v1"', "Content-Type": "text/markdown"},
    )
    refused(write, 404, "document_not_found")
    assert (await ada.http.get(f"/v1/documents/{document['id']}/content")).text == "# Secret\n"


async def test_a_lowered_role_stops_writes_within_a_second_and_a_raised_one_allows_them_at_once(
    team, people, within_a_second
):
    ada, bob, workspace = await team("editor")
    document = await people.document(ada, workspace, "one\n")
    version = 1

    async def write(text):
        return await bob.http.put(
            f"/v1/documents/{document['id']}/content",
            content=text,
            headers={"If-Match": f'"v{version}"', "Content-Type": "text/markdown"},
        )

    async def become(role):
        path = f"/v1/workspaces/{workspace}/members/{bob.id}"
        assert (await ada.http.patch(path, json={"role": role})).status_code == 200

    saved = await write("two\n")
    assert saved.status_code == 200
    version = saved.json()["version"]
    await become("viewer")
    await within_a_second(lambda: write("two\n"), 403, "role_insufficient")
    assert (await bob.http.get(f"/v1/documents/{document['id']}")).json()["abilities"]["edit"] is False
    await become("editor")
    await within_a_second(lambda: write("three\n"), 200, None)
    assert (await ada.http.get(f"/v1/documents/{document['id']}/content")).text == "three\n"


# Rights that change while a request waits


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"name": "Mine"}),
        ("PATCH", "/members/{target}", {"role": "admin"}),
        ("DELETE", "/members/{target}", None),
        ("POST", "/invitations", {"email": "late@example.org"}),
    ],
)
async def test_who_loses_the_right_while_waiting_is_refused(team, people, environment, refused, method, path, body):
    _, actor, workspace = await team("admin")
    target = await people.person("Target")
    await people.join(workspace, target, "editor")
    url = environment["AUTH_GATEWAY_OWNER_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1 FROM auth_gateway.workspace WHERE id = %s FOR UPDATE", (workspace,))
        request = asyncio.create_task(
            actor.http.request(method, f"/v1/workspaces/{workspace}" + path.format(target=target.id), json=body)
        )
        async with asyncio.timeout(5):
            while True:
                waiting = await connection.execute(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
                )
                if await waiting.fetchone():
                    break
                await asyncio.sleep(0.01)
        await connection.execute("UPDATE auth_gateway.member SET role = 'viewer' WHERE user_id = %s", (actor.id,))
    refused(await request, 403, "role_insufficient")
