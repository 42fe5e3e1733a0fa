"""The client's own edges: what is queued, what comes back, what is never thrown away."""

from itertools import count

import pytest
from deploy.device import MemoryStore, SqliteStore, State
from deploy.device.state import sha256

ROOT = "r:10000000-0000-7000-8000-000000000001"


@pytest.fixture
def state():
    numbers = count(1)
    made = State(lambda: f"00000000-0000-7000-8000-{next(numbers):012x}")
    made.meta["device_id"] = "00000000-0000-7000-9000-000000000000"
    made.roles[ROOT] = "editor"
    return made


def head(id_, version, text, **fields):
    return {
        "scope": ROOT, "entity": "document", "id": id_, "kind": "upsert", "version": version, "title": "T",
        "content_hash": sha256(text), "content": text, "parent_id": None, "data": {"workspace_id": ROOT[2:]}, **fields,
    }  # fmt: skip


def page(*changes, removed=(), cursor="c"):
    return {"changes": list(changes), "scopes_removed": list(removed), "roles": {}, "cursor": cursor}


def bootstrap(*items):
    return {"items": list(items), "scopes_removed": [], "roles": {ROOT: "editor"}, "page_token": None, "cursor": "c"}


def result(op, status, **fields):
    return {"n": op["n"], "op_id": op["op_id"], "id": op["id"], "status": status, **fields}


def test_an_edit_replaces_what_was_not_sent_under_another_id(state):
    state.take_page(page(head("d", 3, "a\n")))
    state.edit("d", "b\n")
    [first] = [dict(op) for op in state.queue.values()]
    state.edit("d", "c\n")
    [op] = state.queue.values()
    assert (op["content"], op["base_version"], op["base_hash"]) == ("c\n", 3, sha256("a\n"))
    assert op["n"] == first["n"]
    assert op["op_id"] != first["op_id"], "a backup may hold the other text under the first"


def test_what_was_sent_is_never_changed_and_what_follows_builds_on_it(state):
    state.take_page(page(head("d", 3, "a\n")))
    state.edit("d", "b\n")
    [sent] = state.to_push()
    state.edit("d", "c\n")
    again = state.to_push()
    assert again[0] == sent
    assert again[1]["base_hash"] == sha256("b\n")
    assert state.text("d") == "c\n"


def test_after_an_answer_that_was_lost_the_same_is_sent(state):
    id_ = state.create(ROOT[2:], "T", "a\n")
    first = state.to_push()
    assert state.to_push() == first
    state.take_results([result(first[0], "applied", version=1, content_hash=sha256("a\n"))])
    assert not state.queue
    assert state.meta["last_n"] == 1
    state.edit(id_, "b\n")
    assert state.to_push()[0]["n"] == 2


def test_after_a_retry_all_that_follow_stay(state):
    for text in ("a\n", "b\n", "c\n"):
        state.create(ROOT[2:], text, text)
    ops = state.to_push()
    state.take_results([result(ops[0], "applied", version=1), result(ops[1], "retry"), result(ops[2], "retry")])
    assert [op["n"] for op in state.to_push()] == [2, 3]


def test_what_was_typed_on_goes_on_in_the_conflict_copy(state):
    state.take_page(page(head("d", 3, "a\n")))
    state.edit("d", "b\n")
    [op] = state.to_push()
    state.edit("d", "c\n")
    state.take_results([result(op, "conflict", version=4, conflict_document_id="copy")])
    [follows] = state.to_push()
    assert (follows["id"], follows["base_version"], follows["base_hash"]) == ("copy", 1, sha256("b\n"))


def test_an_update_sent_behind_a_conflict_is_done_on_the_copy(state):
    state.take_page(page(head("d", 3, "a\n")))
    state.edit("d", "b\n")
    state.to_push()
    state.edit("d", "c\n")
    ops = state.to_push()
    results = [result(ops[0], "conflict", version=4, conflict_document_id="copy"), result(ops[1], "blocked")]
    state.take_results(results)
    [follows] = state.to_push()
    assert (follows["id"], follows["content"], follows["n"]) == ("copy", "c\n", 3)
    assert not state.drafts


@pytest.mark.parametrize("status", ["rejected", "blocked"])
def test_a_text_that_was_refused_is_a_draft(state, status):
    state.take_page(page(head("d", 3, "a\n")))
    state.edit("d", "mine\n")
    [op] = state.to_push()
    state.take_results([result(op, status, code="x")])
    assert [draft["content"] for draft in state.drafts.values()] == ["mine\n"]


def test_lost_access_takes_the_copy_but_not_what_was_typed(state):
    state.take_page(page(head("d", 3, "a\n"), head("e", 1, "clean\n")))
    state.edit("d", "mine\n")
    state.take_page(page(removed=[ROOT]))
    assert ("document", "e") not in state.heads
    assert state.text("d") == "mine\n"
    [op] = state.to_push()
    state.take_results([result(op, "rejected", code="document_not_found")])
    assert [draft["content"] for draft in state.drafts.values()] == ["mine\n"]


def test_an_older_change_does_not_take_a_newer_one_back(state):
    state.take_page(page(head("d", 3, "new\n")))
    state.take_page(page(head("d", 2, "old\n")))
    assert state.text("d") == "new\n"


def test_what_the_server_lost_is_handed_in(state):
    """Also if it has gone on since with texts of its own, to the same version or a higher one."""
    known = [head("lost", 4, "mine\n"), head("older", 4, "new\n"), head("newer", 2, "ours\n"), head("same", 1, "x\n")]
    state.take_page(page(*known))
    state.begin_bootstrap("upload_differences")
    state.take_bootstrap(bootstrap(head("older", 2, "old\n"), head("newer", 3, "theirs\n"), head("same", 1, "x\n")))
    found = {op["id"]: (op["type"], op["content"]) for op in state.to_push()}
    assert found == {"lost": ("create", "mine\n"), "older": ("update", "new\n"), "newer": ("update", "ours\n")}


def test_what_the_server_deleted_is_deleted_unless_it_was_edited(state):
    state.take_page(page(head("clean", 4, "x\n"), head("edited", 4, "y\n")))
    state.edit("edited", "mine\n")
    state.begin_bootstrap("apply_differences")
    state.take_bootstrap(bootstrap())
    assert ("document", "clean") not in state.heads
    assert state.text("edited") == "mine\n"


def test_another_device_begins_at_one_with_the_same_operations(state):
    state.meta["last_n"] = 41
    for text in ("a\n", "b\n"):
        state.create(ROOT[2:], text, text)
    before, old = [op["op_id"] for op in state.to_push()], state.meta["device_id"]
    state.become_another_device()
    assert state.meta["device_id"] != old
    assert [(op["n"], op["op_id"]) for op in state.to_push()] == list(enumerate(before, 1))


def test_a_crash_loses_nothing_that_was_saved(state, tmp_path):
    store = SqliteStore(tmp_path / "device")
    ids = [state.create(ROOT[2:], f"T{n}", f"{n}\n") for n in range(1, 13)]
    store.commit(state)
    state.create(ROOT[2:], "unsaved", "x\n")
    again = State(lambda: "new")
    SqliteStore(tmp_path / "device").load(again)
    assert [op["id"] for op in again.to_push()] == ids, "in order, also past nine"
    assert again.text(ids[11]) == "12\n"
    again.edit(ids[11], "more\n")
    assert [op["n"] for op in again.queue.of("document", ids[11])] == [12, 13]


def test_a_backup_is_not_changed_by_what_comes_later(state):
    store = MemoryStore()
    state.create(ROOT[2:], "T", "a\n")
    store.commit(state)
    backup = store.copy()
    state.create(ROOT[2:], "T", "b\n")
    store.commit(state)
    again = State(lambda: "new")
    backup.load(again)
    assert len(again.queue) == 1
