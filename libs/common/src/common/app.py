"""The app factory: what every service does the same around its routes.

Problem details, request ids, trace context, trusted hops, body limit, CORS, security headers, health, OpenAPI,
background tasks and a second app for /internal.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from common.access import routes as access
from common.edge import Edge, problem_response
from common.errors import BadRequestError, NotFoundError, ServiceError, TooLargeError, UnprocessableError
from common.idempotency import Replay
from common.messaging import Subscriber, history
from common.platform import Platform
from common.revisions import SchemaTooOldError
from common.settings import CommonSettings

log = logging.getLogger(__name__)

Resources = Callable[[Platform], AbstractAsyncContextManager[Any]]

EXPOSED_HEADERS = [
    "ETag", "Location", "Retry-After", "X-Request-Id", "Content-Digest", "Idempotent-Replayed", "Content-Range",
    "Accept-Ranges", "Content-Disposition",
    "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
]  # fmt: skip
MAX_FIELD_ERRORS = 20
HANDED_ON_BYTES = 12 * 1024 * 1024
"""What a service may add to a request it hands on to another one; a text grows when it becomes JSON."""
IDENTITY_OWNER = "auth-gateway"


class MalformedJsonError(BadRequestError):
    """The body is not JSON."""

    code = "malformed_json"
    title = "The body is not valid JSON"


class MethodNotAllowedError(BadRequestError):
    """The path exists, the method does not."""

    status_code = 405
    code = "method_not_allowed"
    title = "Method not allowed"


def create_app(
    settings: CommonSettings,
    *,
    routes: APIRouter,
    internal: APIRouter,
    resources: Resources,
    subscribers: Sequence[Subscriber] = (),
    platform: type[Platform] = Platform,
    unlimited: tuple[str, ...] = (),
    client_headers: tuple[str, ...] = (),
    shown_headers: tuple[str, ...] = (),
    innermost: Sequence[Middleware] = (),
) -> FastAPI:
    """The service's public app; the one for its internal port is at `.state.internal_app`.

    `resources` opens what the service itself holds (pools, stores); its value is at `app.state.resources`. Below the
    `unlimited` path prefixes routes bound their bodies themselves; browsers on other origins may send `client_headers`
    and read `shown_headers`. Behind the edge, before the routes, come the `innermost` layers.
    """
    app = _bare_app(
        settings,
        f"/v1/{settings.service}/openapi.json",
        lifespan=_lifespan(settings, resources, subscribers, platform),
        unlimited=unlimited,
        client_headers=client_headers,
        shown_headers=shown_headers,
    )
    app.user_middleware.extend(innermost)
    app.state.settings = settings
    app.state.schema_too_old = False
    app.include_router(routes)
    app.include_router(_health_routes(settings))
    app.state.internal_app = _bare_app(settings, "/internal/openapi.json", more_bytes=HANDED_ON_BYTES)
    app.state.internal_app.include_router(internal)
    app.state.internal_app.include_router(history.routes(settings.schema_name))
    if settings.service != IDENTITY_OWNER:  # which decides by its own tables
        app.state.internal_app.include_router(access.routes(settings.schema_name))
    app.state.internal_app.include_router(_health_routes(settings))
    return app


def _bare_app(
    settings: CommonSettings,
    openapi_url: str,
    lifespan: Any = None,
    *,
    more_bytes: int = 0,
    unlimited: tuple[str, ...] = (),
    client_headers: tuple[str, ...] = (),
    shown_headers: tuple[str, ...] = (),
) -> FastAPI:
    app = FastAPI(
        title=f"MD Creator {settings.service}",
        version=settings.version,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Edge makes the spans, and only sampled ones
    )
    app.add_middleware(
        Edge,
        body_limit=settings.body_limit_bytes + more_bytes,
        trusted_hops=settings.trusted_hops,
        unlimited=unlimited,
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "Prefer",
                       "Range", "If-Range", "Traceparent", "X-Request-Id", *client_headers],
        expose_headers=[*EXPOSED_HEADERS, *shown_headers],
        max_age=600,
    )  # fmt: skip
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _lifespan(
    settings: CommonSettings, resources: Resources, subscribers: Sequence[Subscriber], kind: type[Platform]
) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                platform = await stack.enter_async_context(kind.open(settings))
            except SchemaTooOldError:
                app.state.schema_too_old = True
                raise
            app.state.platform = app.state.internal_app.state.platform = platform
            own = await stack.enter_async_context(resources(platform))
            app.state.resources = app.state.internal_app.state.resources = own
            if subscribers:
                platform.consume(subscribers)
            log.info("started")
            yield

    return lifespan


def _health_routes(settings: CommonSettings) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/health/ready")
    async def ready(request: Request) -> JSONResponse:
        platform: Platform = request.app.state.platform
        checks = await platform.readiness()
        ok = all(value == "ok" for value in checks.values())
        return JSONResponse({"status": "ready" if ok else "not_ready", **checks}, 200 if ok else 503)

    @router.get("/version")
    async def version() -> dict[str, str]:
        return {"service": settings.service, "version": settings.version}

    return router


async def _service_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, Replay):
        return error.response
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class
    return problem_response(error)


async def _validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    details = error.errors()
    if details and details[0]["type"] == "json_invalid":
        return problem_response(MalformedJsonError(str(details[0].get("ctx", {}).get("error", ""))))
    fields = [
        {
            "field": ".".join(str(part)[:100] for part in item["loc"][1:]) or str(item["loc"][0]),
            "in": str(item["loc"][0]),
            "message": item["msg"][:300],
            "type": item["type"],
        }
        for item in details[:MAX_FIELD_ERRORS]
    ]
    return problem_response(UnprocessableError(f"{len(details)} field(s) are not valid", errors=fields))


_HTTP_ERRORS: dict[int, Callable[[], ServiceError]] = {
    400: lambda: MalformedJsonError("the body could not be parsed"),
    404: lambda: NotFoundError("no such route"),
    405: MethodNotAllowedError,
    413: TooLargeError,
}


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    make = _HTTP_ERRORS.get(error.status_code, lambda: BadRequestError(str(error.detail)))
    response = problem_response(make())
    response.headers.update(error.headers or {})
    return response


PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "trace_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
        components["Problem"] = PROBLEM_SCHEMA
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path in schema.get("paths", {}).values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                if "4XX" not in operation["responses"]:  # whose errors are in another shape
                    operation["responses"]["default"] = {"description": "Problem (RFC 9457)", "content": content}
        app.openapi_schema = schema
    return app.openapi_schema
