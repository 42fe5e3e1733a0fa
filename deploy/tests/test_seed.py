"""Seeded documents are realistic, the same for the same series, and exactly as many as asked for."""

from collections import Counter
from uuid import UUID

import pytest
from deploy import seed
from deploy.client import Api, digest
from deploy.samples import LARGEST, SMALLEST, sample
from deploy.tests.processes import Fleet


def test_samples_depend_on_series_and_index_only() -> None:
    assert sample(1, 7) == sample(1, 7)
    assert len({sample(series, index).content for series in (1, 2) for index in range(50)}) == 100


def test_samples_are_realistic() -> None:
    made = [sample(1, index) for index in range(500)]
    sizes = [len(item.content.encode()) for item in made]
    assert min(sizes) >= SMALLEST
    assert max(sizes) < 1.1 * LARGEST
    assert 0.5 < sum(2000 <= size <= 8192 for size in sizes) / len(sizes) < 0.8
    assert any(size >= 16 * 1024 for size in sizes), "some go to the object store"
    text = "".join(item.content for item in made)
    for mark in ("\n## ", "\n- ", "\n| ", "\n```python\n", "\n> ", "日", "é", "\n$$\n"):
        assert mark in text
    assert all(0 < len(item.title) <= 200 for item in made)


def test_fixed_ids_are_ones_a_client_may_make() -> None:
    assert UUID(seed._fixed_id("a")).version == 4
    assert seed._fixed_id("a") == seed._fixed_id("a") != seed._fixed_id("b")


@pytest.mark.parametrize("arguments", [["0"], ["ten"], ["10", "--workspaces", "0"], ["10", "--people", "0"]])
def test_bad_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        seed._arguments(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err


async def test_seed_is_for_this_machine_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert await seed.main(["--demo"], {"MDC_ISSUER": "https://md.example.org"}) == 1
    assert "not on this machine" in capsys.readouterr().out


@pytest.mark.slow
async def test_seed_fills_workspaces_of_the_demo_account(ready: Fleet, api: Api) -> None:
    done = await seed.seed(api, ready.mails, 60, series=3, workspaces=2, people=3)
    assert sum(done.workspaces.values()) == 60
    expected = Counter(digest(sample(3, index).content.encode()) for index in range(60))
    stored: Counter[str] = Counter()
    for workspace_id, count in done.workspaces.items():
        items = await done.people[0].pages("/v1/documents", "list", workspace_id=workspace_id)
        assert len(items) == count
        stored.update(item["content_hash"] for item in items)
    assert stored == expected
    assert {person.email for person in done.people} >= {seed.DEMO_ADDRESS}


@pytest.mark.slow
async def test_demo_login_is_made_once_and_keeps_what_its_user_did(ready: Fleet, api: Api) -> None:
    person = await seed.make_demo(api)
    workspaces = await person.pages("/v1/workspaces", "list")
    (workspace_id,) = [item["id"] for item in workspaces if item["name"] == seed.DEMO_WORKSPACE]
    first, *others = await person.pages("/v1/documents", "list", workspace_id=workspace_id)
    await person.call("DELETE", f"/v1/documents/{first['id']}", expect=(204,))
    await person.save(others[0]["id"], b"mine now\n", others[0]["version"])

    await seed.make_demo(api)

    again = await person.pages("/v1/documents", "list", workspace_id=workspace_id)
    assert {item["id"] for item in again} == {item["id"] for item in others}
    assert (await person.content(others[0]["id"])).body == b"mine now\n"
