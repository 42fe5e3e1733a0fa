"""What a person does with a document over HTTP."""

from typing import Any

import httpx

from .people import Person


async def save(person: Person, document_id: str, base: int, content: str | bytes, **headers: str) -> httpx.Response:
    """PUT the whole content, having seen version `base`."""
    return await person.http.put(
        f"/v1/documents/{document_id}/content",
        content=content.encode() if isinstance(content, str) else content,
        headers={"If-Match": f'"v{base}"', **headers},
    )


async def edit(
    person: Person, document_id: str, base: int, *edits: dict[str, str], headers: dict[str, str] | None = None
) -> httpx.Response:
    """PATCH edits onto version `base`."""
    return await person.http.patch(
        f"/v1/documents/{document_id}/content",
        json={"edits": list(edits)},
        headers={"If-Match": f'"v{base}"', **(headers or {})},
    )


async def text(person: Person, document_id: str) -> str:
    """The current Markdown."""
    return (await person.http.get(f"/v1/documents/{document_id}/content")).content.decode()


async def versions(person: Person, document_id: str) -> list[dict[str, Any]]:
    """The newest page of versions."""
    answer = await person.http.get(f"/v1/documents/{document_id}/versions")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items
