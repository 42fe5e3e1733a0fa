"""Wiring: what this service holds, and the service objects of one request."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request

from common.auth import Principal
from common.contracts.documents import DocumentCreated, DocumentPurged, DocumentState
from common.database import Database, Transaction
from common.dependencies import ActingUser, authenticate
from common.idempotency import IdempotencyKey, repeatable
from common.messaging import Envelope, read
from common.objects import FileStore, open_store
from common.platform import Platform

from .processing.scanner import open_scanner
from .processing.workshop import Workshop
from .repository import BlobRepository, DocumentRepository, UploadRepository
from .service import (
    Caretaker,
    CompletionService,
    ContextService,
    Examiner,
    FileService,
    Grace,
    Inventory,
    Placements,
    Places,
    Terms,
    UploadService,
)
from .settings import Settings

SCHEMA = "files"
OBJECTS = "/v1/files/objects"
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    objects: FileStore
    examiner: Examiner
    placements: Placements
    terms: Terms


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """The store, and who looks into what is stored."""
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    workshop = Workshop()
    scanner = open_scanner(settings.clamav_host, settings.clamav_port)
    async with _store(settings) as store:
        examiner = Examiner(platform.worker, store, workshop, scanner)
        grace = Grace(settings.orphan_hours, settings.unused_hours)
        platform.supervise("examiner", examiner.run())
        platform.supervise("caretaker", Caretaker(platform.worker, store, grace).run())
        try:
            yield Resources(
                store,
                examiner,
                Placements(platform.worker, platform.client, platform.revocations),
                Terms(settings.quota_bytes, settings.upload_seconds),
            )
        finally:
            await workshop.close()


@asynccontextmanager
async def inventory(grace_seconds: float) -> AsyncIterator[Inventory]:
    """A comparison of store and tables, by a process of its own."""
    settings = Settings()
    worker = Database(settings.worker_database_url.get_secret_value(), max_size=1, timeout=CONNECT_SECONDS)
    await worker.open()
    try:
        async with _store(settings) as store:
            yield Inventory(worker, store, grace_seconds)
    finally:
        await worker.close()


def _store(settings: Settings) -> AbstractAsyncContextManager[FileStore]:
    return open_store(
        settings.object_store,
        folder=settings.objects_dir,
        signed_base_url=settings.issuer + OBJECTS,
        url_keys=[key.encode() for key in settings.url_keys.get_secret_value().split(",")],
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint_url=settings.aws_endpoint_url,
        kms_key_id=settings.s3_kms_key_id,
        cloudfront_url=settings.cloudfront_url,
        cloudfront_key_pair_id=settings.cloudfront_key_pair_id,
        cloudfront_private_key=settings.cloudfront_private_key.get_secret_value(),
    )


@dataclass(frozen=True, slots=True)
class Services:
    """The service objects of one request, all in one transaction."""

    uploads: UploadService
    files: FileService
    contexts: ContextService
    places: Places
    usage: UploadRepository
    quota_bytes: int


async def _confirmed(request: Request) -> tuple[Resources, Platform, Principal]:
    """Who asks; what is known of rights and places is new enough to decide by."""
    user = await authenticate(request)
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    await own.placements.confirm()
    return own, platform, user


async def services(request: Request) -> AsyncIterator[Services]:
    """The caller's files, in the request's transaction."""
    own, platform, user = await _confirmed(request)
    async with platform.database.transaction(user.user_id) as transaction:
        request.state.transaction, request.state.user = transaction, user
        places = Places(transaction, own.placements, platform.access, user)
        files = FileService(transaction, places, own.objects, user)
        yield Services(
            UploadService(transaction, places, own.objects, own.terms, user),
            files,
            ContextService(transaction, files, places, user),
            places,
            UploadRepository(transaction),
            own.terms.quota_bytes,
        )


RequestServices = Annotated[Services, Depends(services, scope="function")]


async def completion_service(request: Request) -> CompletionService:
    """Ends of uploads, in transactions of their own."""
    own, platform, user = await _confirmed(request)

    def places(transaction: Transaction) -> Places:
        return Places(transaction, own.placements, platform.access, user)

    return CompletionService(platform.database, own.objects, own.examiner, places, user)


async def idempotency_key(request: Request, _services: RequestServices) -> AsyncIterator[IdempotencyKey]:
    """The request's Idempotency-Key, if it has one (see `repeatable`)."""
    async with repeatable(request, request.state.transaction, request.state.user.user_id, SCHEMA) as key:
        yield key


async def place(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Note where documents lie now; what is attached to them goes along to another workspace, and to a copy."""
    documents, blobs = DocumentRepository(transaction), BlobRepository(transaction)
    for row in await documents.place([_head(read(event, DocumentState)) for event in events], only_known=True):
        if row["before"] != row["workspace_id"]:
            await blobs.follow(row["id"], row["workspace_id"])
    made = [event for event in events if event.type == DocumentCreated.type and event.extensions.get("actor")]
    copies = [
        (source, told, UUID(event.extensions["actor"]))
        for event in made
        if (source := (told := read(event, DocumentCreated)).copied_from or told.conflict_of)
    ]
    attached = await blobs.with_attachments([source for source, *_ in copies]) if copies else set()
    for source, told, actor in copies:
        if source in attached:
            await documents.place([_head(told)], only_known=False)
            await blobs.copy_attachments(source, told.document_id, actor)
    if purged := [event.aggregate_id for event in events if event.type == DocumentPurged.type]:
        await blobs.purge(purged)


def _head(told: DocumentState) -> dict[str, Any]:
    return {**told.model_dump(), "id": told.document_id}


Key = Annotated[IdempotencyKey, Depends(idempotency_key, scope="function")]
Completions = Annotated[CompletionService, Depends(completion_service)]


async def read_along(request: Request, user: ActingUser) -> AsyncIterator[ContextService]:
    """Context files of the user a service acts for."""
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    await own.placements.confirm()
    async with platform.database.transaction(user.user_id) as transaction:
        places = Places(transaction, own.placements, platform.access, user)
        yield ContextService(transaction, FileService(transaction, places, own.objects, user), places, user)


ReadAlong = Annotated[ContextService, Depends(read_along, scope="function")]
