"""What the demo knows must be true: every accepted content, every expectation that was not met."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from deploy.client import Answer, Person, UnexpectedAnswerError, at_most
from deploy.progress import Progress

AT_ONCE = 8


class Named(Protocol):
    """Something that can be told from others."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass
class Document:
    """A document as the API must give it back."""

    id: str
    name: str
    version: int
    contents: dict[int, bytes]
    """Every accepted content by the version that made it; the newest is what a reader gets."""

    @property
    def content(self) -> bytes:
        return self.contents[max(self.contents)]

    def accept(self, answer: Answer, content: bytes) -> None:
        """Take note that the API accepted `content`."""
        self.version = int(answer.json()["version"])
        self.contents[self.version] = content


@dataclass
class Ledger:
    """Two people, their workspace and documents, and what went wrong."""

    ada: Person
    ben: Person
    workspace_id: str
    documents: list[Document] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    merges: int = 0
    conflicts: int = 0
    trace_id: str = ""

    def check(self, right: bool, what: str) -> bool:
        """Note `what` is off unless `right`."""
        if not right:
            self.wrong.append(what)
        return right

    async def each(self, title: str, items: Sequence[N], work: Callable[[N], Awaitable[None]]) -> Progress:
        """Do `work` with every item, some at a time; an unexpected answer is noted, the others go on."""
        progress = Progress(title, len(items))

        async def one(item: N) -> None:
            try:
                await work(item)
            except UnexpectedAnswerError as error:
                self.wrong.append(f"{item.name}: {error}")
            progress.step()

        await at_most(AT_ONCE, [partial(one, item) for item in items])
        return progress
