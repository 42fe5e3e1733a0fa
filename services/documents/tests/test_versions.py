"""History: every accepted content stays readable, comparable and restorable."""

import subprocess

import pytest

from common.testing.checks import problem
from common.testing.writing import save, text


@pytest.fixture
async def history(people, place):
    document = await people.document(place.owner, place.id, "one\n")
    await save(place.editor, document["id"], 1, "one\ntwo\n")
    await save(place.owner, document["id"], 2, "one\r\ntwo\nthree")
    return document["id"]


async def test_versions_are_listed_newest_first_in_pages(place, history):
    path = f"/v1/documents/{history}/versions"
    page = (await place.viewer.http.get(path, params={"limit": 2})).json()
    assert [item["n"] for item in page["items"]] == [3, 2]
    rest = (await place.viewer.http.get(path, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [item["n"] for item in rest["items"]] == [1]
    assert rest["next_cursor"] is None
    assert page["items"][1]["author_id"] == str(place.editor.id)


async def test_content_of_every_version(place, history):
    contents = [
        (await place.viewer.http.get(f"/v1/documents/{history}/versions/{n}/content")).content for n in (1, 2, 3)
    ]
    assert contents == [b"one\n", b"one\ntwo\n", b"one\r\ntwo\nthree"]


async def test_unknown_versions(place, history):
    for path in ("4", "4/content", "4/diff", "3/diff?against=0"):
        answer = await place.viewer.http.get(f"/v1/documents/{history}/versions/{path}")
        problem(answer, 404, "version_not_found")
    for n in ("0", "-1", "x", "99999999999999999999"):
        problem(await place.viewer.http.get(f"/v1/documents/{history}/versions/{n}"), 422, "validation_error")
    missing = await place.editor.http.post(f"/v1/documents/{history}/versions/9/restore")
    problem(missing, 404, "version_not_found")


async def test_diff_is_one_that_git_applies(place, history, tmp_path):
    answer = await place.viewer.http.get(f"/v1/documents/{history}/versions/3/diff", params={"against": 1})
    assert answer.headers["content-type"].startswith("text/x-diff")
    diff = answer.content.decode()
    (tmp_path / "note.md").write_bytes(b"one\n")
    patch = diff.replace("--- v1", "--- a/note.md").replace("+++ v3", "+++ b/note.md")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    assert (tmp_path / "note.md").read_bytes() == b"one\r\ntwo\nthree"


async def test_diff_against_a_version_that_never_was(place, history):
    answer = await place.owner.http.get(f"/v1/documents/{history}/versions/1/diff?against=99")
    problem(answer, 404, "version_not_found")


async def test_bytes_that_never_change_are_not_sent_again(place, history):
    path = f"/v1/documents/{history}/versions/1/content"
    first = await place.owner.http.get(path)
    for seen in (first.headers["ETag"], "*", f'"x", W/{first.headers["ETag"]}'):
        again = await place.owner.http.get(path, headers={"If-None-Match": seen})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    problem(await place.stranger.http.get(path, headers={"If-None-Match": "*"}), 404, "document_not_found")


async def test_diff_defaults_to_the_version_before(place, history):
    default = await place.viewer.http.get(f"/v1/documents/{history}/versions/2/diff")
    explicit = await place.viewer.http.get(f"/v1/documents/{history}/versions/2/diff", params={"against": 1})
    assert default.text == explicit.text
    assert "+two" in default.text
    first = await place.viewer.http.get(f"/v1/documents/{history}/versions/1/diff")
    assert "+one" in first.text


async def test_restore_is_a_new_version(place, history):
    restored = await place.editor.http.post(f"/v1/documents/{history}/versions/1/restore")
    assert (restored.json()["version"], restored.json()["merged"]) == (4, False)
    assert await text(place.viewer, history) == "one\n"
    newest = (await place.viewer.http.get(f"/v1/documents/{history}/versions/4")).json()
    assert (newest["origin"], newest["base_version"]) == ("restore", 1)
    again = await place.editor.http.post(f"/v1/documents/{history}/versions/1/restore")
    assert again.json()["version"] == 4


async def test_restore_with_if_match_refuses_a_stale_view(place, history):
    path = f"/v1/documents/{history}/versions/1/restore"
    problem(await place.editor.http.post(path, headers={"If-Match": '"v2"'}), 412, "version_stale")
    assert (await place.editor.http.post(path, headers={"If-Match": '"v3"'})).status_code == 200


async def test_an_old_base_still_merges(place, history):
    answer = await save(place.editor, history, 1, "zero\none\n")
    assert answer.status_code == 200
    # The one line of the base has turned to CRLF since, so what is inserted there follows.
    assert await text(place.viewer, history) == "zero\r\none\r\ntwo\nthree"
