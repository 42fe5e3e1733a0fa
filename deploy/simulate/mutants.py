# ruff: noqa: SLF001 - bugs are planted where nobody is meant to reach
"""`make mutants`: bugs of this kind's favourites, planted one by one; each must be found within some histories."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from deploy.device.state import State
from deploy.simulate.documents import Documents
from deploy.simulate.history import play
from deploy.simulate.sync import Kept, Sync
from documents.domain import ladder
from sync import domain
from sync.domain import Position, Scope

HISTORIES = 3000
STEPS = 60
SEED = 1_000_000

Plant = Callable[[], Any]


def _no_results_kept() -> Any:
    """An operation that comes again happens again."""
    usual = Documents._one

    def one(self: Documents, user: str, device: str, op: dict[str, Any], undone: Any, said: Any) -> dict[str, Any]:
        self.results.pop((user, op["op_id"]), None)
        return usual(self, user, device, op, undone, said)

    return patch.object(Documents, "_one", one)


def _stale_base_is_current() -> Any:
    """The last writer wins."""
    usual = ladder.step

    def step(current: str, proposed: str, base: str | None) -> ladder.Step:
        found = usual(current, proposed, base)
        return ladder.Step.REPLACE if found is ladder.Step.MERGE else found

    return patch.object(ladder, "step", step)


def _unknown_base_overwrites() -> Any:
    """A text made from nobody knows what replaces what is there."""
    usual = ladder.step

    def step(current: str, proposed: str, base: str | None) -> ladder.Step:
        found = usual(current, proposed, base)
        return ladder.Step.REPLACE if found is ladder.Step.COPY else found

    return patch.object(ladder, "step", step)


def _position_past_the_cut() -> Any:
    """A page that was cut moves the cursor to the end of the scope."""
    usual = domain.turn

    def turn(positions: Any, read: Any, rows: Any, **limits: Any) -> Any:
        page = usual(positions, read, rows, **limits)
        ends = {scope: page.positions[scope]._replace(seq=head.seq) for scope, head in read.items()}
        return page._replace(positions=page.positions | ends) if page.full else page

    return patch.object(domain, "turn", turn)


def _lost_scopes_stay() -> Any:
    """What the user may not read any more is not taken away."""
    usual = domain.plan
    return patch.object(domain, "plan", lambda *args: usual(*args)._replace(removed=[]))


def _forgotten_removals_unnoticed() -> Any:
    """A device that was away too long is not told to begin again."""
    usual = domain.plan

    def plan(positions: Mapping[Scope, Position], heads: Mapping[Scope, domain.Head]) -> Any:
        return usual(positions, {scope: head._replace(low_seq=0) for scope, head in heads.items()})

    return patch.object(domain, "plan", plan)


def _one_cursor_per_generation() -> Any:
    """Two answers to one pull share a name: the device goes on from what it was never told."""
    usual = Sync._keep

    def keep(self: Sync, cursor: Any, before: Any, after: Any, *, used: bool) -> str:
        token = usual(self, cursor, before, after, used=used)
        kept = self.cursors.get(str(cursor.device_id), {})
        newest = max((one.generation for one in kept.values()), default=0)
        same = [nonce for nonce, one in kept.items() if one.generation == newest]
        for nonce in same:
            kept[nonce] = Kept(newest, domain.pack(after))
        return token

    return patch.object(Sync, "_keep", keep)


def _early_events_dropped() -> Any:
    """An event that comes before an earlier one is thrown away."""
    usual = domain.admit
    return patch.object(domain, "admit", lambda last, events: usual(last, events)._replace(park=[]))


def _no_order_of_events() -> Any:
    """Events are logged as they arrive, later versions before earlier ones."""

    def admit(_last: int, events: Any) -> domain.Admission:
        return domain.Admission(list(events), [], [])

    return patch.object(domain, "admit", admit)


def _tally_forgets_what_was() -> Any:
    """A checksum grows by what is new and never loses what was."""
    usual = domain.recount
    return patch.object(domain, "recount", lambda tally, _before, after: usual(tally, None, after))


def _titles_after_restriction() -> Any:
    """What was restricted a moment ago is told until the event has come."""
    usual = domain.turn

    def turn(positions: Any, read: Any, rows: Any, **limits: Any) -> Any:
        return usual(positions, read, rows, **{**limits, "placements": {}})

    return patch.object(domain, "turn", turn)


def _removal_takes_the_queue() -> Any:
    """What goes away takes unsent edits with it."""
    usual = State._drop_if_free

    def drop(self: State, key: tuple[str, str]) -> None:
        usual(self, key)
        if key not in self.heads:
            for n in [n for n, op in self.queue.items() if op["id"] == key[1] and not op["sent"]]:
                self._sent_to_nowhere = self.queue.pop(n)  # type: ignore[attr-defined]

    return patch.object(State, "_drop_if_free", drop)


def _answers_forgotten_by_number() -> Any:
    """A device takes an operation out of its queue before it is answered."""
    usual = State.to_push

    def to_push(self: State) -> list[dict[str, Any]]:
        ops = usual(self)
        self.meta["last_n"] = max([self.meta.get("last_n", 0), *(op["n"] for op in ops)])
        self.__dict__["unanswered"] = {op["n"]: self.queue.pop(op["n"]) for op in ops}
        return ops

    taken = State.take_results

    def take_results(self: State, results: Any) -> None:
        for n, op in self.__dict__.pop("unanswered", {}).items():
            self.queue[n] = op
        taken(self, results)

    @contextmanager
    def both() -> Iterator[None]:
        with patch.object(State, "to_push", to_push), patch.object(State, "take_results", take_results):
            yield

    return both()


MUTANTS: dict[str, Plant] = {
    "results of operations not kept": _no_results_kept,
    "stale base taken for current": _stale_base_is_current,
    "unknown base overwrites": _unknown_base_overwrites,
    "position moved past a cut page": _position_past_the_cut,
    "scopes_removed not computed": _lost_scopes_stay,
    "forgotten removals without 410": _forgotten_removals_unnoticed,
    "two answers under one cursor": _one_cursor_per_generation,
    "early events dropped": _early_events_dropped,
    "events logged out of order": _no_order_of_events,
    "tally never loses": _tally_forgets_what_was,
    "titles told after a restriction": _titles_after_restriction,
    "a removal takes unsent edits": _removal_takes_the_queue,
    "queue emptied before the answer": _answers_forgotten_by_number,
}


def hunt(name: str, histories: int = HISTORIES) -> tuple[int, str] | None:
    """After how many histories a planted bug was found, and how it showed; None if it was not."""
    for count in range(histories):
        with MUTANTS[name]():
            outcome = play(SEED + count, STEPS)
        if outcome.violations:
            return count + 1, outcome.violations[0]
    return None


def main() -> int:
    """Hunt them all, on all cores."""
    print("| planted bug | found after | how it showed |\n|---|---|---|", flush=True)
    missed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, found in zip(MUTANTS, pool.map(hunt, MUTANTS), strict=True):
            missed += found is None
            told = f"{found[0]} | {found[1][:90]}" if found else f"**not within {HISTORIES}** | "
            print(f"| {name} | {told} |", flush=True)
    print(f"\n{len(MUTANTS) - missed} of {len(MUTANTS)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
