"""Text of context files for the AI proxy, by the rights of the user it acts for."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from common.dependencies import internal_caller
from common.fields import RequestBody
from common.idempotency import json_response

from ..dependencies import ReadAlong
from ..errors import FileNotReadyError, FileRejectedError, NoTextError

router = APIRouter(prefix="/internal/context-files", dependencies=[internal_caller("ai-proxy")])


class TextsWanted(RequestBody):
    """Context files, and how many tokens of text each may have at most."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=20)]
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)]


@router.post("/texts")
async def read_texts(body: TextsWanted, contexts: ReadAlong) -> Response:
    """Their text page by page, in the order asked for, and whose they are; `problem`: why there is none."""
    files = []
    for id_ in body.ids:
        try:
            file, pages, more = await contexts.text(id_, body.max_tokens)
        except (NoTextError, FileNotReadyError, FileRejectedError) as error:
            files.append({"id": id_, "name": "", "pages": [], "truncated": False, "problem": error.code})
            continue
        told = [{"number": page["number"], "text": page["content"]} for page in pages]
        files.append(
            {
                "id": id_, "workspace_id": file["workspace_id"], "name": file["name"], "pages": told,
                "truncated": more, "problem": None,
            }
        )  # fmt: skip
    return json_response({"files": files})
