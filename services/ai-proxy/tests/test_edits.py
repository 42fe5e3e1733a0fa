"""Edits: hunks are read as they were meant or not at all, and finding the place of one takes no time to speak of."""

from types import SimpleNamespace

import pytest

from ai_proxy.domain import edits
from ai_proxy.domain.endings import complete, ending
from ai_proxy.domain.prompting import Material, Page, compose
from ai_proxy.domain.wires import OPENAI
from ai_proxy.service.assist import Answer
from common.identifiers import uuid7


def hunk(find, replace):
    return f"<<<<<<< FIND\n{find}\n=======\n{replace}\n>>>>>>> REPLACE"


class Counted(str):
    """Counts how often it is searched."""

    __slots__ = ("searched",)

    def find(self, *args):
        self.searched = getattr(self, "searched", 0) + 1
        return super().find(*args)


def test_a_selection_that_occurs_everywhere_is_widened_in_few_steps():
    text = Counted("a" * 100_000)
    edit = edits.replacing(text, 500, 1, "b")
    assert edits.check(text, [edit]) == "a" * 500 + "b" + "a" * 99_499
    assert text.searched < 60


def test_begun_hunks_without_an_end_are_refused():
    with pytest.raises(edits.EditInvalidError):
        edits.read_hunks("<<<<<<< FIND\n" * 5_000)


@pytest.mark.parametrize(
    "answer",
    [
        hunk("Title\n=======\ntext", "Title"),
        hunk("x", "Title\n======="),
        hunk("a", "b") + "\n<<<<<<< FIND\nc\n=======\nd",
        hunk("a", "b").replace(">>>>>>> REPLACE", hunk("c", "d")),
        "<<<<<<< FIND\n" + hunk("c", "d"),
        ">>>>>>> REPLACE\n" + hunk("c", "d"),
    ],
)
def test_hunks_that_can_be_read_in_two_ways_are_refused(answer):
    with pytest.raises(edits.EditInvalidError):
        edits.read_hunks(answer)


@pytest.mark.parametrize("line", ["=====", "========="])
def test_underlines_of_headings_are_text(line):
    assert edits.read_hunks(hunk(f"Title\n{line}", f"Name\n{line}")) == [
        {"find": f"Title\n{line}", "replace": f"Name\n{line}"}
    ]


def test_an_empty_find_swallows_nothing():
    answer = "<<<<<<< FIND\n=======\nnew\n>>>>>>> REPLACE\n" + hunk("a", "b")
    hunks = edits.read_hunks(answer)
    assert hunks == [{"find": "", "replace": "new"}, {"find": "a", "replace": "b"}]
    with pytest.raises(edits.EditInvalidError):
        edits.check("a", hunks)


def test_of_a_selection_that_occurs_twice_the_surroundings_of_the_right_one_are_kept():
    text = "first " + "x" * 9_000 + " word " + "y" * 9_000 + " word last"
    material = Material(document=text, selection="word", selection_start=text.rindex("word"))
    prompt = compose("fix", material, instructions=None, language=None, hunks=False, budget=1_000)
    assert "word last" in prompt.user
    assert prompt.truncated


def test_a_page_longer_than_its_share_is_cut():
    page = Page(uuid7(), "a.pdf", 1, "beginning " + "x" * 9_000)
    prompt = compose("ask", Material(files=[[page]]), instructions="?", language=None, hunks=False, budget=1_000)
    assert "beginning" in prompt.user
    assert len(prompt.user) < 5_000
    assert prompt.truncated
    assert prompt.marks["F1:1"].context_file_id == page.context_file_id


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, "stop"),
        ({"choices": [{"delta": {}, "finish_reason": "length"}]}, "length"),
        ({"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}, None),
        ({"choices": [], "usage": {}}, None),
        ({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}, "max_tokens"),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, "end_turn"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "error"),
        ({"error": {"message": "x"}}, "error"),
        ({"choices": [5], "delta": 5, "error": None}, None),
    ],
)
def test_why_an_answer_ended(event, why):
    assert ending(event) == why
    assert complete(why) == (why in ("stop", "end_turn"))


async def test_an_answer_whose_last_line_lacks_its_end_is_whole():
    async def stream():
        yield b'data: {"choices":[{"delta":{"content":"Yes"},"finish_'
        yield b'reason":null}]}\n\ndata: {"choices":[{"delta":{"content":"."},"finish_reason":"stop"}]}'

    answer = Answer(SimpleNamespace(status=200, streamed=True, stream=stream, wire=OPENAI))
    assert [part async for part in answer.parts()] == ["Yes", "."]
    assert answer.text() == "Yes."
