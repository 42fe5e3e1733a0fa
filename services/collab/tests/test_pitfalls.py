"""The engine's and the protocols' known pitfalls, by their numbers in docs/collab.md; 10 to 21 need servers."""

import gc
import random
import time
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text, XmlElement, XmlFragment, XmlText, merge_updates

from collab.domain import wire
from collab.domain.engine import NOTHING, Applied, Replica, guarded, merged
from collab.errors import FrameInvalidError, StateDamagedError, UpdateInvalidError


def updates_of(edits: Any, client_id: int = 7) -> tuple[Doc[Any], list[bytes]]:
    """A document and the update of each edit."""
    doc: Doc[Any] = Doc(client_id=client_id)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    for edit in edits:
        with doc.transaction():
            edit(doc.get("content", type=Text))
    doc.unobserve(subscription)
    return doc, made


def typing(text: str) -> list[Any]:
    return [lambda t, c=character: t.insert(len(t), c) for character in text]


def text_of(replica: Replica) -> str:
    doc: Doc[Any] = Doc()
    doc.apply_update(replica.diff())
    return str(doc.get("content", type=Text))


def random_xml_edits(seed: int, steps: int = 40) -> list[bytes]:
    dice = random.Random(seed)
    docs = [Doc(client_id=n + 1) for n in range(3)]
    made: list[bytes] = []
    for doc in docs:
        doc.get("default", type=XmlFragment)
    for _ in range(steps):
        doc = dice.choice(docs)
        before = doc.get_state()
        root = doc.get("default", type=XmlFragment)
        children = list(root.children)
        if not children or dice.random() < 0.4:
            element = XmlElement("paragraph")
            root.children.insert(dice.randint(0, len(children)), element)
            element.children.append(XmlText("word "))
        elif dice.random() < 0.3:
            del root.children[dice.randrange(len(children))]
        else:
            text = next(iter(dice.choice(children).children), None)
            if text is not None:
                text.insert(0, dice.choice("abc"))
        made.append(doc.get_update(before))
        if dice.random() < 0.4:
            other = dice.choice(docs)
            other.apply_update(doc.get_update(other.get_state()))
    return made


def test_01_an_update_that_lacks_others_is_never_let_in() -> None:
    lost = 0
    for seed in range(60):
        ordered = random_xml_edits(seed)
        whole = Replica(ordered)
        shuffled = ordered.copy()
        random.Random(seed).shuffle(shuffled)
        naive: Doc[Any] = Doc()
        for update in shuffled:
            naive.apply_update(update)
        lost += naive.get_state() != whole.state_vector
        replica = Replica()
        waiting = shuffled
        while waiting:
            waiting = [update for update in waiting if replica.apply(update) is Applied.LACKS_EARLIER]
        assert replica.state_vector == whole.state_vector
        assert wire.read_state_vector(replica.state_vector) == wire.read_state_vector(whole.state_vector)
    assert lost, "the engine itself does lose them: else this guard can go"


def test_01_what_lacks_something_leaves_no_trace() -> None:
    doc, made = updates_of(typing("abcdef"))
    replica = Replica(made[:2])
    before = replica.diff()
    assert replica.apply(made[4]) is Applied.LACKS_EARLIER
    assert replica.diff() == before
    assert replica.apply(made[2]) is Applied.NEW
    assert text_of(replica) == "abc", "what was refused is not let in by what comes later"
    assert replica.apply(doc.get_update()) is Applied.NEW
    assert text_of(replica) == "abcdef"


def test_01_deletions_of_what_is_missing_are_missing_too() -> None:
    def remove(text: Text) -> None:
        del text[0:3]

    _, made = updates_of([*typing("abcdef"), remove])
    replica = Replica(made[:2])
    assert replica.apply(made[-1]) is Applied.LACKS_EARLIER
    for update in made[2:]:
        assert replica.apply(update) is Applied.NEW
    assert text_of(replica) == "def"
    assert replica.apply(made[-1]) is Applied.NOTHING_NEW


def test_02_a_state_is_never_encoded_with_a_gap_in_it() -> None:
    _, made = updates_of(typing("ABC"))
    naive: Doc[Any] = Doc()
    naive.apply_update(made[0])
    naive.apply_update(made[2])
    again: Doc[Any] = Doc()
    again.apply_update(naive.get_update())
    again.apply_update(made[1])
    assert str(again.get("content", type=Text)) == "AB", "the engine drops what is pending: else this guard can go"
    with pytest.raises(StateDamagedError):
        Replica([made[0], made[2]])
    assert text_of(Replica([merge_updates(*made)])) == "ABC"


def test_04_a_panic_is_an_error_like_others() -> None:
    def panic() -> None:
        doc: Doc[Any] = Doc()
        text = doc.get("content", type=Text)
        text += "é"
        del text[1:2]

    with pytest.raises(UpdateInvalidError):
        guarded(panic)


def test_05_a_closed_replica_is_freed() -> None:
    class Witness:
        pass

    kept = []
    for _ in range(3):
        replica = Replica(updates_of(typing("abc"))[1])
        replica.close()
        kept.append(weakref.ref(replica))
        del replica
    gc.collect()
    assert not any(one() for one in kept)


def test_07_many_updates_are_merged_as_a_tree() -> None:
    doc, made = updates_of(typing("x" * 20_000))
    begun = time.perf_counter()
    one = merged(made)
    seconds = time.perf_counter() - begun
    assert text_of(Replica([one])) == str(doc.get("content", type=Text))
    begun = time.perf_counter()
    merge_updates(*made[:5_000])
    assert seconds < (time.perf_counter() - begun) * 10, "not quadratic: 4 times as many would take 16 times as long"
    assert merged([]) == NOTHING


def test_08_nothing_of_an_event_is_kept_behind_its_callback() -> None:
    replica = Replica()
    assert replica.apply(updates_of(typing("a"))[1][0]) is Applied.NEW
    kept = [value for value in vars(replica).values() if type(value).__name__ == "TransactionEvent"]
    assert not kept


@settings(max_examples=400, deadline=None)
@given(junk=st.binary(max_size=200))
def test_09_junk_is_an_error_and_changes_nothing(junk: bytes) -> None:
    replica = Replica(updates_of(typing("abc"))[1])
    before = replica.diff()
    try:
        outcome = replica.apply(junk)
    except UpdateInvalidError:
        pass
    else:
        assert outcome in Applied
        if outcome is not Applied.NEW:
            assert replica.diff() == before
    try:
        message = wire.read_message(junk)
    except FrameInvalidError:
        return
    assert message.kind in list(wire.Kind)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_09_mutated_updates_do_not_break_a_replica(data: st.DataObject) -> None:
    doc, made = updates_of(typing("hello world"))
    update = bytearray(doc.get_update())
    for _ in range(data.draw(st.integers(1, 4))):
        update[data.draw(st.integers(0, len(update) - 1))] = data.draw(st.integers(0, 255))
    replica = Replica(made[:4])
    try:
        replica.apply(bytes(update))
    except UpdateInvalidError:
        assert text_of(replica) == "hell"
    replica.diff()


@given(value=st.integers(0, 2**53))
def test_numbers_are_read_as_they_were_written(value: int) -> None:
    assert wire.read_uint(wire.uint(value), 0) == (value, len(wire.uint(value)))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_have_the_length_rfc_6455_wants(size: int) -> None:
    frame = wire.frame(b"x" * size)
    assert frame[0] == 0x82
    assert frame.endswith(b"x" * size)
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_a_message_with_something_behind_it_is_refused() -> None:
    message = wire.update_message(b"\x00\x00")
    assert wire.read_message(message).payload == b"\x00\x00"
    with pytest.raises(FrameInvalidError):
        wire.read_message(message + b"\x00")
    with pytest.raises(FrameInvalidError):
        wire.read_message(b"\x00\x03\x00")
    with pytest.raises(FrameInvalidError):
        wire.read_uint(b"\xff" * 9, 0)
