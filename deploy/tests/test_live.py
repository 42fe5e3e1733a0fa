"""Live documents on a fleet of processes, through the gateway: real npm clients, kills, a short storm."""

import asyncio
from http import HTTPStatus

import pytest
from deploy.chaos import collab
from deploy.editors.driver import Editors
from deploy.tests.conftest import Teams
from deploy.tests.processes import Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def test_10_two_y_websocket_clients_survive_kill_9(ready: Fleet, teams: Teams) -> None:
    team = await teams.of(2)
    answer = await team[0].create(team.workspace_id, "Live", b"start\n", kind="text")
    document = answer.json()["id"]
    url = ready.url.replace("http", "ws") + "/v1/collab/ws"
    async with Editors.running() as editors:
        opened = []
        for person in (team[0], team[1]):

            async def params(person=person):
                path = f"/v1/collab/documents/{document}/ticket"
                while (answer := await person.call("POST", path, expect=(200, 503))).status != HTTPStatus.OK:
                    await asyncio.sleep(0.1)
                return {"ticket": answer.json()["ticket"]}

            opened.append(
                await editors.open("y-websocket-3", url=url, document=document, kind="text", params=params, backoff=200)
            )
        first, second = opened
        await first.wait_for(equals="start\n")
        for round_ in range(3):
            await first.type(f"a{round_} ", at=0)
            await second.wait_for(contains=f"a{round_} ")
            await ready["collab"].kill()
            await first.type(f"b{round_} ", at=0)
            await second.type(f"c{round_} ", at="end")
            await ready["collab"].start()
            await first.wait_for(contains=f"c{round_} ", seconds=30)
            await second.wait_for(contains=f"b{round_} ", seconds=30)
        assert await first.text() == await second.text()
        said = await first.text()
        for word in (f"{letter}{n}" for letter in "abc" for n in range(3)):
            assert said.count(word) == 1
        async with asyncio.timeout(20):
            while (await team[0].content(document)).body.decode() != said:
                await asyncio.sleep(0.2)


async def test_nothing_promised_is_lost_in_a_short_storm() -> None:
    outcome = await collab.run(25, seed=1)
    assert outcome.lost == []
    assert outcome.doubled == []
    assert outcome.differing == []
    assert outcome.kills.total() >= 4
    assert sum(len(one.promised) for one in outcome.promises) > 500


async def test_a_broadcast_before_the_commit_is_caught() -> None:
    outcome = await collab.run(20, seed=1, planted="broadcast_before_commit")
    assert outcome.lost != []
