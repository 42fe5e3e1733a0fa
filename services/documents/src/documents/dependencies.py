"""Wiring: what this service holds, and the service object of one request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from common.access import MembershipProjection
from common.database import Transaction
from common.dependencies import authenticate
from common.errors import ServiceError
from common.idempotency import IdempotencyKey
from common.objects import FolderStore
from common.platform import Platform
from common.preconditions import RequiredVersion, preferences

from .repository import DocumentRepository
from .service import DocumentService, Terms, Workbench
from .settings import Settings
from .storage import BodyStore

SCHEMA = "documents"


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    bodies: BodyStore
    workbench: Workbench
    memberships: MembershipProjection


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Body store and membership projection."""
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    yield Resources(
        BodyStore(
            FolderStore(settings.objects_dir),
            inline_below=settings.inline_body_bytes,
            limit=settings.content_limit_bytes,
        ),
        Workbench(),
        MembershipProjection(platform.worker, platform.client, platform.revocations, SCHEMA),
    )


async def document_service(request: Request) -> AsyncIterator[DocumentService]:
    """The caller's documents, in the request's transaction; changed memberships are confirmed first."""
    user = await authenticate(request)
    own: Resources = request.app.state.resources
    await own.memberships.refresh_changed(user.user_id)
    platform: Platform = request.app.state.platform
    async with platform.database.transaction(user.user_id) as transaction:
        repository = DocumentRepository(transaction, user)
        request.state.transaction, request.state.user = transaction, user
        yield DocumentService(repository, own.bodies, own.workbench, own.memberships, user)


# scope="function": with the default scope a failing commit answered 201 (ADR-0004).
Documents = Annotated[DocumentService, Depends(document_service, scope="function")]


async def idempotency_key(request: Request, _service: Documents) -> AsyncIterator[IdempotencyKey]:
    """The request's Idempotency-Key, if it has one: a request that was done before is answered before anything else.

    A duplicate may also overtake that look and then fail on what the first one changed: it gets the first one's answer.
    """
    transaction: Transaction = request.state.transaction
    key = IdempotencyKey(request, transaction, request.state.user.user_id, SCHEMA)
    await key.replay()
    try:
        yield key
    except ServiceError:
        await transaction.release()
        await key.replay()
        raise


async def write_terms(request: Request, version: RequiredVersion) -> Terms:
    """`If-Match` and `Prefer` of a content write."""
    prefer = preferences(request)
    return Terms(version, prefer.get("handling") == "strict", prefer.get("return") == "merge-preview")


Key = Annotated[IdempotencyKey, Depends(idempotency_key, scope="function")]
WriteTerms = Annotated[Terms, Depends(write_terms)]
