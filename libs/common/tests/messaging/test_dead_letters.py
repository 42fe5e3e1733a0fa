"""`make dlq` on every adapter; its words on the command line."""

import asyncio

import pytest

from common.messaging import dead_letters


async def bury(broker, count):
    events = [broker.event(n) for n in range(1, count + 1)]
    async with broker.subscribe() as subscription:
        await broker.bus.publish(events)
        buried = 0
        while buried < count:
            for delivery in await subscription.receive(10):
                await subscription.bury(delivery, "KeyError: 'x'")
                buried += 1
    return events


async def do(broker, verb, wanted):
    lines = []
    done = await dead_letters.run(broker.bus, [broker.queue], verb, wanted, lines.append)
    return done, "\n".join(lines)


async def test_list_show_replay_drop(broker):
    first, second, third = await bury(broker, 3)
    async with asyncio.timeout(20):
        while (await do(broker, "list", "all"))[0] < 3:
            await asyncio.sleep(0.1)
    done, said = await do(broker, "list", "all")
    assert done == 3
    assert all(str(event.id) in said for event in (first, second, third))
    assert "KeyError: 'x'" in said
    done, said = await do(broker, "show", str(second.id))
    assert (done, '"specversion": "1.0"' in said, str(first.id) in said) == (1, True, False)
    assert (await do(broker, "drop", str(third.id)))[0] == 1
    assert (await do(broker, "replay", str(first.id)))[0] == 1
    async with broker.subscribe() as subscription:
        (delivery,) = await subscription.receive(10)
        assert str(first.id).encode() in delivery.body
        await subscription.ack([delivery])
    left = []

    async def only_second():
        left[:] = [await do(broker, "list", "all")]
        return left[0][0] == 1 and str(second.id) in left[0][1]

    async with asyncio.timeout(20):
        while not await only_second():
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["nobody"], 2), (["sync", "burn"], 2), (["sync", "replay"], 2), (["sync", "drop", ""], 2)]
)
def test_words_that_make_no_sense_are_refused(capsys, arguments, code):
    assert dead_letters.main(arguments) == code
    assert "usage: make dlq" in capsys.readouterr().err


def test_a_letter_with_an_odd_date_is_described():
    letter = dead_letters.DeadLetter(b"x", "why", 0, "soon")
    assert "died soon after 1 tries: why" in dead_letters.describe(letter)


def test_a_broker_that_is_away_is_said_plainly(capsys, monkeypatch):
    monkeypatch.setenv("MDC_AMQP_URL", "amqp://guest:guest@127.0.0.1:1/")
    monkeypatch.setattr(dead_letters, "CONNECT_SECONDS", 0.3)
    assert dead_letters.main(["sync"]) == 1
    assert "event bus is not reachable" in capsys.readouterr().err
