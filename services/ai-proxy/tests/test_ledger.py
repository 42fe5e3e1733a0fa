"""Budgets on the real database: never more than allowed at once, counted once, whatever becomes of a process."""

import asyncio
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_proxy.domain.ledger import Account, Amount, Limit
from ai_proxy.domain.prices import PriceTable, Usage
from ai_proxy.errors import AiOffError, BudgetExceededError, TokensPerMinuteError, TooManyCallsError
from ai_proxy.repository import LedgerRepository
from ai_proxy.service import Caller, Caps, Meter, Place
from ai_proxy.service.meter import Ending, Wanted
from common.auth import Principal
from common.database import Database, DatabaseUnavailableError, Transaction
from common.identifiers import uuid7

PRICES = PriceTable.load({"one": {"input": 1, "output": 1, "context": 10**9, "answer": 10**6}}, None)
"""A token of `one` costs a micro-dollar."""
NONE = [None] * 16


class Known:
    """Places of which everything is known."""

    async def refresh(self, user_id):
        pass

    async def learn(self, user_id, place):
        return place


def caps(**fields):
    given = {
        "ceilings": NONE, "calls_per_user": 10**6, "calls_per_workspace": 10**6, "tokens_per_minute": 10**12,
        "personal_calls": True, "lease_seconds": 1.0, **fields,
    }  # fmt: skip
    return Caps(**given)


def caller(user_id=None):
    return Caller(Principal(user_id or uuid7(), uuid7(), 2**40), "token")


def wanted(tokens, *, streamed=True, money=None):
    amount = Amount(tokens, tokens if money is None else money)
    return Wanted("openai", ["one"], "chat", streamed, amount, tokens // 2, tokens - tokens // 2)


def ending(tokens, outcome="completed"):
    return Ending("openai", "one", Usage(input=tokens // 2, output=tokens - tokens // 2), outcome, estimated=False)


def steady(meter):
    """As if it had beaten for longer than a lease."""
    meter._steady_since -= 1.1 * meter._caps.lease_seconds
    return meter


@pytest.fixture
async def meters(open_database):
    database, worker = await open_database("AI_PROXY_DATABASE_URL"), await open_database("AI_PROXY_WORKER_DATABASE_URL")

    def made(**fields):
        return Meter(database, worker, Known(), PRICES, caps(**fields))

    return made


def set_budget(owner, kind, subject, place, **limits):
    limits = {"enabled": True, "day_tokens": None, "day_micro_usd": None, **limits}
    owner.execute(
        "INSERT INTO ai_proxy.budget (id, kind, subject_id, place_id, enabled, day_tokens, day_micro_usd, version, "
        "updated_by) VALUES (%s, %s, %s, %s, %s, %s, %s, 1, %s)",
        (uuid7(), kind, subject, place, limits["enabled"], limits["day_tokens"], limits["day_micro_usd"], subject),
    )


def personal(owner, user, **limits):
    set_budget(owner, "user", user, UUID(int=0), **limits)


def counter(owner, subject, kind="user", period="day"):
    row = owner.execute(
        "SELECT spent_tokens, spent_micro_usd, reserved_tokens, reserved_micro_usd, calls FROM ai_proxy.counter "
        "WHERE kind = %s AND subject_id = %s AND period = %s",
        (kind, subject, period),
    ).fetchone()
    return Account() if row is None else Account(Amount(*row[:2]), Amount(*row[2:4]), row[4])


def usage(owner, user):
    return owner.execute(
        "SELECT coalesce(sum(input_tokens + output_tokens), 0)::bigint, coalesce(sum(micro_usd), 0)::bigint, count(*) "
        "FROM ai_proxy.usage WHERE user_id = %s",
        (user,),
    ).fetchone()


def miscounted(owner):
    """Users and workspaces of whose calls under way `meter` says another number than there are reservations."""
    return owner.execute(
        "SELECT m.subject_id, m.open, r.calls FROM ai_proxy.meter m FULL JOIN ("
        "SELECT s.id, count(*) AS calls FROM ai_proxy.reservation r "
        "CROSS JOIN LATERAL (VALUES (r.user_id), (r.workspace_id)) AS s (id) WHERE s.id IS NOT NULL GROUP BY s.id"
        ") AS r ON r.id = m.subject_id WHERE coalesce(m.open, 0) <> coalesce(r.calls, 0)"
    ).fetchall()


async def test_a_hundred_calls_at_once_on_a_budget_for_one(meters, owner):
    meter, who = meters(), caller()
    personal(owner, who.user_id, day_micro_usd=100)

    async def attempt():
        try:
            return await meter.reserve(who, Place(), wanted(100))
        except BudgetExceededError:
            return None

    admitted = [one for one in await asyncio.gather(*(attempt() for _ in range(100))) if one]
    assert len(admitted) == 1
    await meter.settle(admitted[0], ending(60))
    with pytest.raises(BudgetExceededError) as refused:
        await meter.reserve(who, Place(), wanted(41))
    assert refused.value.extra == {"scope": "user", "period": "day", "unit": "money"}
    await meter.reserve(who, Place(), wanted(40))


async def test_calls_of_all_scopes_at_once_add_up_and_never_wait_for_each_other_for_good(meters, owner, caplog):
    places, people = [uuid7() for _ in range(3)], [caller() for _ in range(4)]
    for place in places:
        owner.execute("INSERT INTO ai_proxy.workspace_models (workspace_id, version) VALUES (%s, 1)", (place,))
        for who in people:
            owner.execute(
                "INSERT INTO ai_proxy.access_member (workspace_id, user_id, role, version) "
                "VALUES (%s, %s, 'editor', 1)",
                (place, who.user_id),
            )
    processes, wrong, refused = [meters(calls_per_user=6, calls_per_workspace=7) for _ in range(3)], [], []

    gate = asyncio.Semaphore(60)

    async def call(n):
        async with gate:
            await carry_out(n)

    async def carry_out(n):
        meter, place = processes[n % 3], Place(None if n % 5 == 0 else places[n % 7 % 3])
        try:
            reserved = await meter.reserve(people[n % 4], place, wanted(100))
        except TooManyCallsError as error:
            refused.append(error)
            return
        await asyncio.sleep(n % 11 / 1000)
        await meter.settle(reserved, ending(n, "completed" if n % 3 else "aborted"))

    async def look():
        while True:
            wrong.extend(miscounted(owner))
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    await asyncio.gather(*(call(n) for n in range(300)))
    looking.cancel()
    assert (wrong, miscounted(owner)) == ([], [])
    assert 0 < len(refused) < 300
    assert "a call is not counted yet" not in caplog.text
    assert not any(meter._unsettled or meter._running or meter._due for meter in processes)
    ids = [who.user_id for who in people]
    for column, kind, subjects in (("user_id", "user", ids), ("workspace_id", "workspace", places)):
        for subject in subjects:
            found = counter(owner, subject, kind)
            row = owner.execute(
                "SELECT sum(input_tokens + output_tokens)::bigint, sum(micro_usd)::bigint, count(*) "
                f"FROM ai_proxy.usage WHERE {column} = %s",
                (subject,),
            ).fetchone()
            assert found == Account(Amount(*row[:2]), Amount(), row[2])
    assert owner.execute("SELECT count(*) FROM ai_proxy.usage WHERE user_id = ANY(%s)", (ids,)).fetchone() == (
        300 - len(refused),
    )


async def test_calls_that_end_together_are_counted_together_and_none_for_another(meters, owner):
    who, meter, asked = caller(), meters(), []
    calls = [await meter.reserve(who, Place(), wanted(10)) for _ in range(12)]
    columns = meter._columns
    meter._columns = lambda call, ending: asked.append(call.id) or columns(call, ending)
    endings = [ending(7) for _ in calls]
    endings[5] = replace(endings[5], total_ms=2**40)
    await asyncio.gather(*(meter.settle(*pair) for pair in zip(calls, endings, strict=True)))
    assert counter(owner, who.user_id) == Account(Amount(77, 77), Amount(10, 10), 11)
    assert list(meter._unsettled) == list(meter._running) == [calls[5].id]
    assert asked == [calls[0].id, *[call.id for call in calls[1:]] * 2], "one at once, the others together, then alone"
    meter._unsettled[calls[5].id] = calls[5], ending(7)
    await meter.settle_late()
    assert counter(owner, who.user_id) == Account(Amount(84, 84), Amount(), 12)


async def test_a_beat_waits_for_no_call_that_is_being_settled(meters, owner):
    who, meter = caller(), meters()
    ending_, running = [await meter.reserve(who, Place(), wanted(10)) for _ in range(2)]
    for call in (ending_, running):
        meter.watch(call, lambda: 3)
    with owner.transaction():
        owner.execute("SELECT 1 FROM ai_proxy.reservation WHERE id = %s FOR UPDATE", (ending_.id,))
        async with asyncio.timeout(5):
            await meter.beat()
    seen = owner.execute("SELECT id, seen_tokens FROM ai_proxy.reservation WHERE user_id = %s", (who.user_id,))
    assert dict(seen.fetchall()) == {ending_.id: 0, running.id: 3}


async def test_a_call_given_twice_in_one_go_is_not_counted_twice(meters, owner):
    who, meter = caller(), meters()
    reserved = await meter.reserve(who, Place(), wanted(10))
    call = reserved, ending(7)
    assert list(await meter._count(meter._database, LedgerRepository, [call, call])) == [reserved.id] * 2
    assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(), 1)


async def test_ceilings_hold_where_no_budget_is_set(meters, owner):
    who = caller()
    meter = meters(ceilings=[None, None, 50, None] + [None] * 12)
    with pytest.raises(BudgetExceededError) as refused:
        await meter.reserve(who, Place(), wanted(51))
    assert (refused.value.extra["period"], refused.value.extra["unit"]) == ("month", "tokens")
    await meter.reserve(who, Place(), wanted(50))


async def test_a_switch_a_cap_and_tokens_a_minute(meters, owner):
    off, busy, fast = caller(), caller(), caller()
    personal(owner, off.user_id, enabled=False)
    with pytest.raises(AiOffError):
        await meters().reserve(off, Place(), wanted(1))
    meter = meters(calls_per_user=2)
    first = await meter.reserve(busy, Place(), wanted(1))
    await meter.reserve(busy, Place(), wanted(1))
    with pytest.raises(TooManyCallsError):
        await meter.reserve(busy, Place(), wanted(1))
    await meter.settle(first, ending(1))
    await meter.reserve(busy, Place(), wanted(1))
    meter = meters(tokens_per_minute=60)
    await meter.settle(await meter.reserve(fast, Place(), wanted(1000)), ending(660))
    with pytest.raises(TokensPerMinuteError) as refused:
        await meter.reserve(fast, Place(), wanted(1))
    assert 500 < int(refused.value.headers["Retry-After"]) <= 601


async def test_what_a_dead_process_left_is_counted_once(meters, owner):
    dead, alive, who = meters(lease_seconds=3600.0), meters(), caller()
    stream = await dead.reserve(who, Place(), wanted(1000))
    whole = await dead.reserve(who, Place(), wanted(1000, streamed=False))
    untouched = await dead.reserve(who, Place(), wanted(1000))
    dead.watch(stream, lambda: 123)
    dead.watch(whole, lambda: 400)
    await dead.beat()
    await alive.beat()
    await steady(alive).reap()
    assert counter(owner, who.user_id).calls == 0, "it lives"
    back = "UPDATE ai_proxy.reservation SET created_at = created_at - interval '4 s' WHERE user_id = %s"
    owner.execute(back, (who.user_id,))
    owner.execute("UPDATE ai_proxy.process SET leased_until = now() - interval '1 s' WHERE id = %s", (dead._process,))
    await alive.reap()
    rows = owner.execute("SELECT id, output_tokens FROM ai_proxy.usage WHERE user_id = %s", (who.user_id,)).fetchall()
    rows = dict(rows)
    assert (rows[stream.id], rows[untouched.id], rows[whole.id]) == (123, 0, 400)
    before = counter(owner, who.user_id)
    assert (before.reserved, before.calls) == (Amount(), 3)
    for outcome in ("completed", "completed", "crashed"):
        await dead.settle(stream, ending(999, outcome))
        real = Amount(*[before.spent.tokens - 500 - 123 + 999] * 2)
        assert counter(owner, who.user_id) == Account(real, Amount(), 3), "it was thought dead, and knows better"
        assert usage(owner, who.user_id) == (*real, 3)


async def test_a_process_frozen_in_its_beat_holds_no_lock(meters, owner, monkeypatch):
    """Nothing is open between two messages of it."""
    meter, who = meters(), caller()
    calls = [await meter.reserve(who, Place(), wanted(100)) for _ in range(2)]

    async def begin(_transaction):
        raise AssertionError("a transaction of several messages")

    monkeypatch.setattr(Transaction, "_begin", begin)
    for written in (0, 7, 9):
        for turn, call in enumerate(calls):
            meter.watch(call, lambda seen=written and written + turn: seen)
        await meter.beat()
        rows = owner.execute(
            "SELECT r.seen_tokens FROM ai_proxy.reservation r JOIN ai_proxy.process p ON p.id = r.process_id "
            "WHERE r.user_id = %s AND p.leased_until > now() ORDER BY r.created_at", (who.user_id,)
        ).fetchall()  # fmt: skip
        assert rows == [(written and written + turn,) for turn in range(2)]


async def test_after_an_outage_all_have_time_to_beat(meters, owner):
    first, other, who = meters(), meters(), caller()
    reserved = await other.reserve(who, Place(), wanted(10))
    await other.beat()
    await first.beat()
    steady(first)
    owner.execute("UPDATE ai_proxy.process SET leased_until = now() - interval '1 s'")
    first._beat_at -= 2
    await first.beat()
    assert await first.reap() == 0
    assert counter(owner, who.user_id).reserved == Amount(10, 10), "the database was away, not the other process"
    await steady(first).reap()
    assert counter(owner, who.user_id).reserved == Amount()
    await other.settle(reserved, ending(7))
    assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(), 1)


async def test_a_reservation_of_which_only_the_answer_was_lost_is_no_leak(meters, owner, monkeypatch):
    who, meter = caller(), meters()
    ask = meter._ask

    async def lost(*args, **options):
        await ask(*args, **options)
        raise DatabaseUnavailableError

    kept = await meter.reserve(who, Place(), wanted(10))
    with monkeypatch.context() as patch, pytest.raises(DatabaseUnavailableError):
        patch.setattr(meter, "_ask", lost)
        await meter.reserve(who, Place(), wanted(100))
    await meter.beat()
    await steady(meter).reap()
    assert counter(owner, who.user_id).reserved == Amount(110, 110), "it may be about to come"
    back = "UPDATE ai_proxy.reservation SET created_at = created_at - interval '4 s' WHERE user_id = %s"
    owner.execute(back, (who.user_id,))
    await meter.reap()
    assert counter(owner, who.user_id).reserved == Amount(10, 10), "the other one runs"
    await meter.settle(kept, ending(7))
    assert counter(owner, who.user_id).reserved == Amount()


async def test_what_hinders_one_call_hinders_no_other(meters, owner):
    who, meter = caller(), meters()
    odd, good = [await meter.reserve(who, Place(), wanted(10)) for _ in range(2)]
    meter.watch(odd, lambda: 1 // 0)
    meter.watch(good, lambda: 3)
    await meter.settle(odd, replace(ending(5), total_ms=2**40))
    meter._unsettled[good.id] = good, ending(7)
    await meter.beat()
    await meter.settle_late()
    assert list(meter._unsettled) == [odd.id]
    assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(10, 10), 1)
    await meter.reserve(who, Place(), wanted(10))
    owner.execute(
        "UPDATE ai_proxy.reservation SET process_id = %s, created_at = now() - interval '1 minute' WHERE user_id = %s",
        (uuid4(), who.user_id),
    )
    count = meter._columns
    meter._columns = lambda call, ending: {**count(call, ending), **({"total_ms": 2**40} if call.id == odd.id else {})}
    await steady(meter).reap()
    assert counter(owner, who.user_id).reserved == Amount(10, 10)
    meter._columns = count
    await meter.reap()
    assert counter(owner, who.user_id).reserved == Amount()


async def test_a_beat_lets_others_have_their_turn(meters):
    meter, turns = meters(), []
    for n in range(64):
        meter._running[uuid7()] = lambda n=n: turns.append(n) or 0
    asyncio.get_running_loop().call_soon(turns.append, "other")
    await meter.beat()
    assert turns.index("other") < 32


async def test_the_ledger_of_a_month_cannot_be_forgotten(environment, owner):
    who = uuid7()
    for days in (5, 500):
        owner.execute(
            "INSERT INTO ai_proxy.counter (kind, subject_id, place_id, period, starts_on) "
            "VALUES ('user', %s, %s, 'day', current_date - %s::int)",
            (who, UUID(int=0), days),
        )
    with psycopg.connect(environment["AI_PROXY_DATABASE_URL"]) as connection:
        connection.execute("SELECT ai_proxy.forget_usage(0)")
    left = owner.execute("SELECT current_date - starts_on FROM ai_proxy.counter WHERE subject_id = %s", (who,))
    assert left.fetchall() == [(5,)]


async def test_what_could_not_be_counted_is_later(meters, open_database, owner):
    who, meter = caller(), meters()
    reserved = await meter.reserve(who, Place(), wanted(10))
    right = meter._database
    gone = Database("postgresql://nobody@127.0.0.1:1/none", max_size=1, timeout=0.2)
    await gone.open()
    meter._database = gone
    await meter.settle(reserved, ending(7))
    await gone.close()
    assert counter(owner, who.user_id).reserved == Amount(10, 10)
    meter._database = right
    await meter.settle_late()
    assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(), 1)
    assert meter._unsettled == {}
    assert meter._running == {}


async def test_a_reservation_the_server_lost_is_counted_all_the_same(meters, owner):
    who, meter = caller(), meters()
    reserved = await meter.reserve(who, Place(), wanted(10))
    for table in ("reservation", "counter"):
        column = "user_id" if table == "reservation" else "subject_id"
        owner.execute(f"DELETE FROM ai_proxy.{table} WHERE {column} = %s", (who.user_id,))
    for _ in range(2):
        await meter.settle(reserved, ending(7))
        assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(), 1)
    assert usage(owner, who.user_id) == (7, 7, 1)


async def test_nobody_writes_the_ledger_but_its_functions(environment, meters):
    who = caller()
    await meters().reserve(who, Place(), wanted(1))
    for statement in (
        "UPDATE ai_proxy.counter SET spent_tokens = 0",
        "DELETE FROM ai_proxy.usage",
        "DELETE FROM ai_proxy.budget",
        "DELETE FROM ai_proxy.reservation",
        "UPDATE ai_proxy.meter SET level = 1",
    ):
        with (
            psycopg.connect(environment["AI_PROXY_DATABASE_URL"]) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("SELECT set_config('app.user_id', %s, false)", (str(who.user_id),))
            connection.execute(statement)


@dataclass
class Model:
    """What must be true, by the pure core."""

    limit: Limit
    account: Account = field(default_factory=Account)
    open: list = field(default_factory=list)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "settle", "abort", "crash"]),
        st.integers(1, 60),
        st.floats(0, 1),
        st.integers(0, 100),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps=STEPS, tokens=st.integers(0, 200) | st.none(), money=st.integers(0, 200) | st.none())
def test_any_history_keeps_to_the_budget_and_adds_up(steps, tokens, money, ledger):
    ledger(steps, Limit(tokens, money))


@pytest.fixture
def ledger(environment, owner):
    """Carries a history out, on the pure core and on the database at once."""

    def run(steps, limit):
        asyncio.run(_carry_out(environment, owner, steps, limit))

    return run


async def _carry_out(environment, owner, steps, limit):
    database = Database(environment["AI_PROXY_DATABASE_URL"], max_size=2, timeout=5)
    worker = Database(environment["AI_PROXY_WORKER_DATABASE_URL"], max_size=2, timeout=5)
    await database.open()
    await worker.open()
    try:
        who, model = caller(), Model(limit)
        personal(owner, who.user_id, day_tokens=limit.tokens, day_micro_usd=limit.micro_usd)
        made = [Meter(database, worker, Known(), PRICES, caps())]
        await made[0].beat()
        for step, size, share, pick in steps:
            await _step(owner, who, model, made, step, size, share, pick)
            assert counter(owner, who.user_id) == model.account
            opened = owner.execute("SELECT open FROM ai_proxy.meter WHERE subject_id = %s", (who.user_id,)).fetchone()
            assert (opened or (0,))[0] == len(model.open)
            assert limit.allows(model.account.spent)
            spent = model.account.spent
            assert usage(owner, who.user_id) == (spent.tokens, spent.micro_usd, model.account.calls)
    finally:
        await database.close()
        await worker.close()


async def _step(owner, who, model, meters, step, size, share, pick):
    meter = meters[-1]
    if step == "reserve":
        worst, admits = Amount(size, size), model.account.admits(Amount(size, size), model.limit)
        try:
            model.open.append((await meter.reserve(who, Place(), wanted(size)), worst))
            assert admits
            model.account = model.account.reserve(worst)
        except BudgetExceededError:
            assert not admits
    elif step == "crash":
        owner.execute("UPDATE ai_proxy.reservation SET process_id = %s WHERE user_id = %s", (uuid4(), who.user_id))
        owner.execute(
            "UPDATE ai_proxy.reservation SET created_at = now() - interval '1 minute', "
            "seen_tokens = floor(output_tokens * %s)::bigint WHERE user_id = %s",
            (share, who.user_id),
        )
        await steady(meter).reap()
        for _, worst in model.open:
            real = worst.tokens // 2 + int((worst.tokens - worst.tokens // 2) * share)
            model.account = model.account.settle(worst, Amount(real, real))
        model.open = []
    elif model.open:
        reserved, worst = model.open.pop(pick % len(model.open))
        real = int(worst.tokens * share)
        await meter.settle(reserved, ending(real, "completed" if step == "settle" else "aborted"))
        model.account = model.account.settle(worst, Amount(real, real))


def test_what_has_another_price_or_none_is_told_apart():
    table = PriceTable.load({}, None)
    assert table.of("gpt-4o-2024-05-13").input == 2 * table.of("gpt-4o").input
    assert table.of("gpt-4").cost(Usage(output=1_000_000)) == 60_000_000
    assert table.of("o1-pro").cost(Usage(output=1_000_000)) == 600_000_000
    assert table.priced("gpt-4o-2024-08-06")
    assert not table.priced("whatever-9")
    assert PriceTable.load({}, "gpt-5").priced("whatever-9")
    for model in ("gpt-4o-search-preview", "gpt-4o-mini-search-preview-2025-03-11", "gpt-5-search-api"):
        assert not PriceTable.load({}, "gpt-5").priced(model), "each call of it costs a fee"


def test_prices_are_dated_and_an_unknown_model_is_never_cheap():
    table = PriceTable.load({}, None)
    assert table.as_of >= "2026"
    known = table.of("gpt-4o-2024-08-06")
    assert known == table.of("gpt-4o")
    unknown = table.of("whatever-9")
    for price in table.models.values():
        assert unknown.cost(Usage(input=1000, output=1000)) >= price.cost(Usage(input=1000, output=1000))
    assert PriceTable.load({}, "gpt-5").of("whatever-9") == table.of("gpt-5")
    assert table.of("claude-sonnet-4-5").cost(Usage(input=1, cached=10, written=4, output=1)) == 36
    costs = [table.of("claude-sonnet-4-5").cost(Usage(input=n)) for n in (200_000, 200_001)]
    assert costs == [600_000, 1_200_006]
    assert all(a.answer >= 0 for a, _ in pairwise(table.models.values()))


@given(
    read=st.integers(0, 400_000), parts=st.tuples(*[st.floats(0, 1)] * 3), written=st.integers(0, 10_000),
    model=st.sampled_from(sorted(PriceTable.load({}, None).models)),
)  # fmt: skip
def test_no_usage_within_the_bounds_costs_more_than_the_worst(read, parts, written, model):
    price = PriceTable.load({}, None).of(model)
    total = sum(parts) or 1
    shares = [int(read * part / total / 2) for part in parts]
    usage_ = Usage(read - sum(shares), *shares, output=written)
    assert price.cost(usage_) <= price.worst(read, written, caches=True)


async def test_one_that_is_held_up_is_tried_again_after_the_others(meters, owner):
    who, meter = caller(), meters()
    stuck, free = [await meter.reserve(who, Place(), wanted(10)) for _ in range(2)]
    meter._unsettled |= {stuck.id: (stuck, ending(3)), free.id: (free, ending(4))}
    count, tried = meter._count, []

    async def held_up(database, repository, calls):
        [(call, _)] = calls
        tried.append(call.id)
        if call.id == stuck.id:
            raise DatabaseUnavailableError
        return await count(database, repository, calls)

    meter._count = held_up
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            await meter.settle_late()
    assert tried == [stuck.id, free.id, stuck.id]
    assert counter(owner, who.user_id) == Account(Amount(4, 4), Amount(10, 10), 1)


async def test_endings_that_wait_behind_one_that_fails_do_not_fail_one_by_one(meters):
    who, meter = caller(), meters()
    made = [await meter.reserve(who, Place(), wanted(10)) for _ in range(3)]
    tries = []

    async def away(_database, _repository, calls):
        tries.append(len(calls))
        await asyncio.sleep(0.05)
        raise DatabaseUnavailableError

    meter._count = away
    await asyncio.gather(*(meter.settle(call, ending(3)) for call in made))
    assert tries == [1]
    assert set(meter._unsettled) == {call.id for call in made}
    assert not meter._due


async def test_whoever_is_cancelled_while_it_counts_loses_nobodys_call(meters):
    who, meter = caller(), meters()
    made = [await meter.reserve(who, Place(), wanted(10)) for _ in range(2)]
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.sleep(60)

    meter._count = hang
    first, second = [asyncio.create_task(meter.settle(call, ending(3))) for call in made]
    await begun.wait()
    first.cancel()
    await asyncio.wait([first, second])
    assert set(meter._unsettled) == {call.id for call in made}


async def test_a_call_counts_for_whom_it_was_reserved_whatever_its_end_says(meters, owner):
    who, other, meter = caller(), caller(), meters()
    theirs = await meter.reserve(who, Place(), wanted(10))
    await meter.reserve(other, Place(), wanted(10))
    await meter.settle(replace(theirs, user_id=other.user_id), ending(7))
    assert counter(owner, who.user_id) == Account(Amount(7, 7), Amount(), 1)
    assert counter(owner, other.user_id) == Account(Amount(), Amount(10, 10), 0)


async def test_usage_is_of_the_moment_a_call_began(meters, owner):
    who, meter = caller(), meters()
    reserved = await meter.reserve(who, Place(), wanted(10))
    owner.execute("UPDATE ai_proxy.reservation SET created_at = now() - interval '1 day' WHERE id = %s", (reserved.id,))
    await meter.settle(reserved, replace(ending(7), total_ms=5))
    [(age,)] = owner.execute(
        "SELECT extract(epoch FROM now() - at)::int FROM ai_proxy.usage WHERE id = %s", (reserved.id,)
    ).fetchall()
    assert 86_400 <= age < 86_460
