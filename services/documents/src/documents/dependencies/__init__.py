"""Wiring: what this service holds, and the service object of one request."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from common.access import AccessProjection
from common.auth import Principal
from common.contracts.auth_gateway import MembershipChanged
from common.database import Transaction
from common.dependencies import ActingUser, authenticate
from common.idempotency import IdempotencyKey, repeatable
from common.messaging import Envelope, read
from common.objects import open_store
from common.platform import Platform
from common.preconditions import RequiredVersion, preferences
from common.revocations import Announcer

from ..errors import SessionEndedError
from ..repository import (
    BranchRepository,
    DocumentRepository,
    LiveRepository,
    OperationRepository,
    PurgeRepository,
    RootRepository,
    TreeRepository,
    WaveRepository,
)
from ..service import (
    AccessService,
    Bench,
    BranchService,
    Caretaker,
    ContentService,
    DepartureService,
    DocumentService,
    FolderService,
    LiveService,
    OperationService,
    Placer,
    PurgeService,
    Terms,
    TextService,
    Verbs,
    Workbench,
)
from ..settings import Settings
from ..storage import BodyStore

SCHEMA = "documents"


@dataclass(frozen=True, slots=True)
class Resources:
    """Process-wide parts beside the platform."""

    bodies: BodyStore
    workbench: Workbench
    announcer: Announcer


@asynccontextmanager
async def resources(platform: Platform) -> AsyncIterator[Resources]:
    """Body store and workbench."""
    platform.chores += ["drop_revocations()", "drop_op_results()", "drop_live_exports()"]
    settings = platform.settings
    assert isinstance(settings, Settings)  # noqa: S101 - main.create() built it
    async with open_store(
        settings.object_store,
        folder=settings.objects_dir,
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint_url=settings.aws_endpoint_url,
        kms_key_id=settings.s3_kms_key_id,
    ) as objects:
        bodies = BodyStore(objects, inline_below=settings.inline_body_bytes, limit=settings.content_limit_bytes)
        platform.supervise("caretaker", Caretaker(platform.worker, bodies, settings.trash_days).run())
        yield Resources(bodies, Workbench(), Announcer(SCHEMA, platform.redis, platform.revocations))


@dataclass(frozen=True, slots=True)
class Services:
    """The service objects of one request, all in one transaction."""

    documents: DocumentService
    contents: ContentService
    folders: FolderService
    branches: BranchService
    document_access: AccessService
    folder_access: AccessService
    purge: PurgeService
    bench: Bench


async def services(request: Request) -> AsyncIterator[Services]:
    """The caller's documents and folders, in the request's transaction; changed rights are confirmed first."""
    user = await authenticate(request)
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    async with platform.database.transaction(user.user_id) as transaction:
        request.state.transaction, request.state.user = transaction, user
        yield _services(own, platform.access, transaction, user)


def _bench(own: Resources, access: AccessProjection, transaction: Transaction, user: Principal) -> Bench:
    documents, tree = DocumentRepository(transaction, user), TreeRepository(transaction, user)
    roots = RootRepository(transaction, user)
    placer = Placer(documents, tree, roots, own.announcer, user)
    document_access, folder_access = (
        AccessService(kind, documents, tree, roots, placer, own.announcer, access, user)
        for kind in ("document", "folder")
    )
    return Bench(
        transaction,
        DocumentService(documents, own.bodies, placer, document_access, access, user),
        FolderService(tree, documents, placer, folder_access, access, user),
        documents,
        WaveRepository(transaction, user),
        OperationRepository(transaction, user),
        tree,
        roots,
        placer,
        {"document": document_access, "folder": folder_access},
    )


def _services(own: Resources, access: AccessProjection, transaction: Transaction, user: Principal) -> Services:
    bench = _bench(own, access, transaction, user)
    branch_repository = BranchRepository(transaction, user)
    branches = BranchService(
        branch_repository, bench.roots, bench.documents, bench.folders, bench.placer, own.bodies,
        own.announcer, user,
    )  # fmt: skip
    contents = ContentService(bench.documents, bench.repository, own.bodies, own.workbench)
    purge = PurgeService(
        PurgeRepository(transaction, user), branch_repository, bench.roots, bench.documents, bench.folders, bench.placer
    )
    rules = bench.rules
    return Services(
        bench.documents, contents, bench.folders, branches, rules["document"], rules["folder"], purge, bench
    )


# scope="function": with the default scope a failing commit answered 201 (ADR-0004).
RequestServices = Annotated[Services, Depends(services, scope="function")]


async def request_bench(found: RequestServices) -> Bench:
    """What services of other capabilities work with, in the request's transaction."""
    return found.bench


RequestBench = Annotated[Bench, Depends(request_bench)]


async def document_service(found: RequestServices) -> DocumentService:
    """Documents on behalf of the caller."""
    return found.documents


async def content_service(found: RequestServices) -> ContentService:
    """Contents and versions on behalf of the caller."""
    return found.contents


async def folder_service(found: RequestServices) -> FolderService:
    """Folders on behalf of the caller."""
    return found.folders


async def branch_service(found: RequestServices) -> BranchService:
    """Folders and documents with all in them."""
    return found.branches


async def access_service(request: Request, found: RequestServices) -> AccessService:
    """Access rules of what the path is about."""
    return found.folder_access if request.url.path.startswith("/v1/folders/") else found.document_access


async def take_back_grants(transaction: Transaction, events: Sequence[Envelope]) -> None:
    """Whoever leaves a workspace, and is not merely suspended, comes back without the grants they had."""
    told = [read(event, MembershipChanged) for event in events]
    left = [(one.user_id, one.workspace_id) for one in told if one.removed and not one.suspended]
    await DepartureService(RootRepository(transaction, None)).take_back_grants(left)


async def operation_service(request: Request, user: ActingUser) -> OperationService:
    """Operations of one of the user's devices, each in transactions of its own; rights are confirmed before each."""
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform

    @asynccontextmanager
    async def bench(principal: Principal) -> AsyncIterator[Bench]:
        if platform.revocations.session_ended(user.session_id):
            raise SessionEndedError
        await platform.access.refresh(user.user_id)
        async with platform.database.transaction(principal.user_id) as transaction:
            yield _bench(own, platform.access, transaction, principal)

    verbs = Verbs(bench, user, own.bodies, own.workbench)
    return OperationService(bench, user, verbs.by_type(), verbs.at_once)


async def text_service(request: Request, user: ActingUser) -> AsyncIterator[TextService]:
    """Texts for the user another service acts for; changed rights are confirmed first."""
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    await platform.access.refresh(user.user_id)
    async with platform.database.transaction(user.user_id) as transaction:
        yield TextService(OperationRepository(transaction, user), own.bodies)


async def live_service(request: Request) -> AsyncIterator[LiveService]:
    """Documents for live rooms: as the worker, since what was decided for many users is not one user's view."""
    own: Resources = request.app.state.resources
    platform: Platform = request.app.state.platform
    async with platform.worker.transaction() as transaction:
        yield LiveService(LiveRepository(transaction), own.bodies)


async def root_facts(request: Request) -> AsyncIterator[RootRepository]:
    """Access roots as facts for other services."""
    platform: Platform = request.app.state.platform
    async with platform.database.transaction() as transaction:
        yield RootRepository(transaction, None)


Documents = Annotated[DocumentService, Depends(document_service)]
Contents = Annotated[ContentService, Depends(content_service)]
Folders = Annotated[FolderService, Depends(folder_service)]
Branches = Annotated[BranchService, Depends(branch_service)]
Rules = Annotated[AccessService, Depends(access_service)]
Operations = Annotated[OperationService, Depends(operation_service)]
Texts = Annotated[TextService, Depends(text_service, scope="function")]
Live = Annotated[LiveService, Depends(live_service, scope="function")]
RootFacts = Annotated[RootRepository, Depends(root_facts, scope="function")]


async def idempotency_key(request: Request, _services: RequestServices) -> AsyncIterator[IdempotencyKey]:
    """The request's Idempotency-Key, if it has one (see `repeatable`)."""
    async with repeatable(request, request.state.transaction, request.state.user.user_id, SCHEMA) as key:
        yield key


async def write_terms(request: Request, version: RequiredVersion) -> Terms:
    """`If-Match` and `Prefer` of a content write."""
    prefer = preferences(request)
    return Terms(version, prefer.get("handling") == "strict", prefer.get("return") == "merge-preview")


Key = Annotated[IdempotencyKey, Depends(idempotency_key, scope="function")]
WriteTerms = Annotated[Terms, Depends(write_terms)]
