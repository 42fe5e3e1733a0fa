"""Request and response bodies."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from common.database import Row
from common.fields import Line, RequestBody

MOST = 2**53
MAX_MODELS = 100
MAX_CONTEXT_FILES = 20
MAX_TEXT = 400_000

Count = Annotated[int, Field(ge=0, le=MOST)]
Model = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
ScopeName = Literal["user", "workspace", "document"]


class LimitWrite(RequestBody):
    """The most that may be spent in a period; null: no limit."""

    tokens: Count | None = None
    micro_usd: Count | None = Field(default=None, description="Millionths of a US dollar")


class BudgetWrite(RequestBody):
    """A scope's budget, whole. `user` with a workspace: one member's there; without: the caller's own, everywhere."""

    scope: ScopeName
    workspace_id: UUID | None = None
    document_id: UUID | None = None
    user_id: UUID | None = Field(default=None, description="Of a member; by default the caller")
    enabled: bool = Field(default=True, description="false: no AI here")
    models: Annotated[list[Model], Field(max_length=MAX_MODELS)] | None = Field(
        default=None, description="Only these may be used; null: any"
    )
    day: LimitWrite = LimitWrite()
    month: LimitWrite = LimitWrite()


class Spending(BaseModel):
    """A period (UTC) that runs: what may be spent, was spent and is reserved by calls under way."""

    limit_tokens: int | None
    limit_micro_usd: int | None
    ceiling_tokens: int | None = Field(description="The operator's limit, which holds too")
    ceiling_micro_usd: int | None
    spent_tokens: int
    spent_micro_usd: int
    reserved_tokens: int
    reserved_micro_usd: int
    calls: int


class BudgetRead(BaseModel):
    """A scope's budget and what is left of it."""

    scope: ScopeName
    workspace_id: UUID | None
    document_id: UUID | None
    user_id: UUID | None
    enabled: bool
    models: list[str] | None
    day: Spending
    month: Spending


class BudgetList(BaseModel):
    """Every budget that a call of the caller's there would have to keep to."""

    items: list[BudgetRead]


class UsageEntry(BaseModel):
    """One day or month."""

    starts_on: date
    tokens: int
    micro_usd: int
    calls: int


class UsageOfModel(BaseModel):
    """One model in the whole time."""

    provider: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    micro_usd: int


class UsageRead(BaseModel):
    """What was used of a scope, oldest first; days without any are left out."""

    scope: ScopeName
    period: Literal["day", "month"]
    items: list[UsageEntry]
    models: list[UsageOfModel]


class KeyWrite(RequestBody):
    """A key of one's own at a provider."""

    key: Annotated[str, StringConstraints(min_length=8, max_length=1000, pattern=r"^[\x21-\x7e]+$")]


class KeyRead(BaseModel):
    """What is shown of a key; it itself never is."""

    provider: str
    workspace_id: UUID | None
    last4: str
    created_at: datetime
    updated_at: datetime


class ModelRead(BaseModel):
    """A model that may be used, with its price in US dollars for a million tokens, and its limits in tokens."""

    id: str
    provider: str
    wire: Literal["openai", "anthropic"]
    input_usd: float
    output_usd: float
    context_tokens: int
    answer_tokens: int


class ModelList(BaseModel):
    """Models, and of when their prices are."""

    items: list[ModelRead]
    prices_as_of: str


class Action(StrEnum):
    """What /assist can do with a text."""

    IMPROVE = "improve"
    SHORTEN = "shorten"
    EXPAND = "expand"
    FIX = "fix"
    TRANSLATE = "translate"
    SUMMARIZE = "summarize"
    CONTINUE = "continue"
    ASK = "ask"


class AssistRequest(RequestBody):
    """What to do with which text. Texts count as data: what they say is never followed as an instruction."""

    action: Action
    document_id: UUID | None = None
    workspace_id: UUID | None = None
    selection: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)] | None = None
    selection_start: Count | None = Field(
        default=None, description="Where the selection begins in the document, in characters, if it occurs repeatedly"
    )
    context_file_ids: Annotated[list[UUID], Field(max_length=MAX_CONTEXT_FILES)] = []
    instructions: Annotated[str, StringConstraints(max_length=8_000)] | None = Field(
        default=None, description="The question, for `ask`; wishes, for the others"
    )
    language: Line | None = Field(default=None, description="For `translate`")
    model: Model | None = None
    edit: bool = Field(default=False, description="Answer also as edits that PATCH …/content takes")
    stream: bool = False


class FindReplace(BaseModel):
    """Replace the one occurrence of `find`."""

    find: str
    replace: str


class Append(BaseModel):
    """Add text at the very end."""

    append: str


class ProposedEdit(BaseModel):
    """Edits for `PATCH /v1/documents/{id}/content` with `If-Match: "v<base_version>"`; each applies exactly once."""

    document_id: UUID
    base_version: int
    edits: list[FindReplace | Append]


class Citation(BaseModel):
    """A page of a context file the answer refers to, by the mark in its text."""

    mark: str
    context_file_id: UUID
    name: str
    page: int


class AssistAnswer(BaseModel):
    """The answer; `truncated`: not all of the texts fitted into the request."""

    text: str
    model: str
    truncated: bool
    citations: list[Citation]
    edit: ProposedEdit | None


def key(row: Row) -> dict[str, Any]:
    """A row as `KeyRead`."""
    return {
        "provider": row["provider"],
        "workspace_id": row["owner_id"] if row["kind"] == "workspace" else None,
        "last4": row["last4"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
