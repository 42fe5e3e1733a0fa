"""The providers' own formats, passed through: served without FastAPI's work for each request and each chunk."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import orjson
from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from common import telemetry
from common.dependencies import BEARER
from common.edge import InternalError, described
from common.errors import ServiceError, UnauthorizedError
from common.platform import Platform

from ..dependencies import Resources
from ..domain.wires import ANTHROPIC, OPENAI, Operation, Wire
from ..errors import OperationNotFoundError, PlaceInvalidError, RequestRefusedError, RequestTooLargeError
from ..service import Ask, Caller, Exchange
from ..service.exchange import GONE
from ..service.intake import LARGE_BYTES
from .streams import App, Message, Receive, Send, put, watching

log = logging.getLogger(__name__)

PREFIX: Final = "/v1/ai/"
NEVER_AGAIN: Final = ("budget_exceeded", "ai_off", "model_not_allowed")
"""Official clients would ask again at once, in vain."""
Scope = Mapping[str, Any]
Headers = Mapping[str, str]


class NativeRoute(APIRoute):
    """Listed like any route, served as plain ASGI."""

    async def handle(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        wire = ANTHROPIC if scope["path"].startswith(f"{PREFIX}anthropic/") else OPENAI
        await serve(wire, scope, receive, send)


async def serve(wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request through; whatever is wrong is said as the provider would."""
    started = False

    async def noted(message: Message) -> None:
        nonlocal started
        started = True
        await send(message)

    own: Resources = scope["app"].state.resources
    try:
        with ExitStack() as reading:
            exchange = own.exchanges.open(await _read(wire, scope, receive, reading))
            async with watching(receive, lambda: exchange.end(GONE)):
                async with exchange:
                    reading.close()
                    await _answer(exchange, noted)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
    except ServiceError as error:
        if started or (error.code == "call_ended" and isinstance(error.detail, str) and error.detail == GONE):
            return
        await _refuse(wire, error, send)
    except Exception as error:
        if started:
            raise
        log.error("unhandled error", extra={"fields": described(error, scope)})  # noqa: TRY400
        await _refuse(wire, InternalError(), send)


async def _answer(exchange: Exchange, send: Send) -> None:
    headers = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in exchange.headers.items()]
    if not exchange.streamed:
        headers.append((b"content-length", str(len(exchange.body)).encode()))
    await send({"type": "http.response.start", "status": exchange.status, "headers": headers})
    if not exchange.streamed:
        await put(send, exchange.body)
        return
    async with aclosing(exchange.chunks()) as chunks:
        async for chunk in chunks:
            await put(send, chunk)


async def _refuse(wire: Wire, error: ServiceError, send: Send) -> None:
    body = orjson.dumps(wire.error(error.status_code, error.code, error.detail, telemetry.trace_id()))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    if error.code in NEVER_AGAIN:
        headers.append((b"x-should-retry", b"false"))
    await send({"type": "http.response.start", "status": error.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _read(wire: Wire, scope: Scope, receive: Receive, reading: ExitStack) -> Ask:
    """What is asked by whom; `reading` holds its place among the requests that lie in memory. Raises `ServiceError`."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    caller = await _caller(scope, headers)
    operation = wire.operation(scope["method"], scope["path"].removeprefix(f"{PREFIX}{wire.name}/"))
    if operation is None:
        raise OperationNotFoundError
    own: Resources = scope["app"].state.resources
    body: dict[str, Any] = {}
    if operation.method == "POST":
        reading.enter_context(own.intake.reading(caller.user_id))
        data = await _data(receive, own.body_limit)
        if len(data) > LARGE_BYTES:
            reading.enter_context(own.intake.holding_large())
        body = _parsed(data)
    place = await own.places.find(_id(headers, "x-workspace-id"), _id(headers, "x-document-id"))
    given = {name: headers.get(name) or default for name, default in wire.request_headers.items()}
    passed = {name: value for name, value in given.items() if value and value.isprintable()}
    return Ask(caller, place, wire, operation, body, passed, _query(operation, scope["query_string"]))


async def _caller(scope: Scope, headers: Headers) -> Caller:
    """By our access token, where official clients put a provider's key. Raises `UnauthorizedError`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        token = headers.get("x-api-key", "")
    if not token:
        raise UnauthorizedError("send an access token, as Authorization: Bearer or x-api-key")
    platform: Platform = scope["app"].state.platform
    principal = await platform.authenticator.authenticate(token)
    limits = await platform.limiter.take(platform.write_policy, str(principal.user_id))
    if context := telemetry.current():
        context.response_headers.update(limits)
    return Caller(principal, token)


async def _data(receive: Receive, limit: int) -> bytes:
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefusedError(GONE)
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            raise RequestTooLargeError(f"the limit is {limit} bytes")
        more = message.get("more_body", False)
    return b"".join(parts)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise RequestRefusedError("the body is no JSON object")
    return body


def _id(headers: Headers, name: str) -> UUID | None:
    value = headers.get(name)
    try:
        return UUID(value) if value else None
    except ValueError:
        raise PlaceInvalidError(f"{name} is no id") from None


def _query(operation: Operation, query: bytes) -> str:
    if not query or not operation.query:
        return ""
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=20)
    except ValueError:
        raise RequestRefusedError("the query has too many fields") from None
    return urlencode([(name, value) for name, value in pairs if name in operation.query])


router = APIRouter(route_class=NativeRoute, tags=["ai passed through"])
_JSON: Mapping[str, Any] = {"application/json": {}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "In the provider's shape", "content": _JSON} for status in ("4XX", "5XX")
}
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Passed on", "content": {**_JSON, "text/event-stream": {}}}
}
_PASSED: dict[int | str, dict[str, Any]] = {200: {"description": "Passed on", "content": _JSON}}


def _body(operation: Operation) -> dict[str, Any]:
    """The fields that pass; what they hold is the provider's to say."""
    properties = {name: {"type": "string"} if name == "model" else {} for name in sorted(operation.fields)}
    schema = {"type": "object", "required": ["model"], "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _passed_through() -> Response:
    """Passed through: see the provider's documentation."""
    raise NotImplementedError  # `NativeRoute` serves it


def _list(wire: Wire) -> None:
    for operation in wire.operations.values():
        posts = operation.method == "POST"
        router.add_api_route(
            f"{PREFIX}{wire.name}/{operation.path}",
            _passed_through,
            methods=[operation.method],
            name=f"{wire.name}_{operation.name}",
            summary=f"{wire.name}: {operation.name}",
            description="The provider's own format, passed through. `X-Workspace-Id` and `X-Document-Id` say what for.",
            response_class=Response,
            responses={**(_STREAMED if posts and operation.priced else _PASSED), **_ERRORS},
            openapi_extra=_body(operation) if posts else None,
            dependencies=[BEARER],
        )
    router.add_api_route(
        f"{PREFIX}{wire.name}/{{path:path}}",
        _passed_through,
        methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        include_in_schema=False,
    )


for _wire in (OPENAI, ANTHROPIC):
    _list(_wire)


class NativePaths:
    """Serves what most calls are for without the layers of FastAPI's own; everything else is left to the routes."""

    def __init__(self, app: App) -> None:
        self._app = app
        routes = [route for route in router.routes if isinstance(route, NativeRoute) and not route.param_convertors]
        self._routes = {(method, route.path): route for route in routes for method in route.methods or ()}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # spans are named by it
        await route.handle(scope, receive, send)
