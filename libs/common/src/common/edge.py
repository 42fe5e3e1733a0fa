"""The outermost ASGI layer: request context, body limit, security headers, the last catch of an exception."""

import json
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import psycopg
from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from common import telemetry
from common.errors import PROBLEM_MEDIA_TYPE, ServiceError, TooLargeError

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEAD = "common.head"
"""In the scope of a GET that came as HEAD: whoever would read a large body for it need not."""
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"private, no-cache"),
]


class InternalError(ServiceError):
    """A bug: logged with its trace, told to the client without detail."""


def problem_response(error: ServiceError) -> Response:
    """Problem details of `error` for the request at hand."""
    # stdlib json: ASCII escapes carry whatever the client sent back to it, lone surrogates included
    body = json.dumps(error.problem(telemetry.trace_id())).encode()
    return Response(body, error.status_code, error.headers, PROBLEM_MEDIA_TYPE)


class Edge:
    """Wraps the app once; unsampled requests pass with one context object and no span."""

    def __init__(self, app: App, *, body_limit: int, trusted_hops: int, unlimited: tuple[str, ...] = ()) -> None:
        """Below the `unlimited` path prefixes routes bound their bodies themselves."""
        self._app = app
        self._body_limit = body_limit
        self._unlimited = unlimited
        self._trusted_hops = trusted_hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET", HEAD: True}
        headers = {name: value for name, value in scope["headers"] if name in _READ}
        context = telemetry.begin(_text(headers.get(b"traceparent")), _request_id(headers.get(b"x-request-id")))
        context.client_ip = client_ip(_text(headers.get(b"x-forwarded-for")), scope["client"], self._trusted_hops)
        with telemetry.activate(context):
            if context.sampled:
                await self._serve_traced(scope, receive, send, headers)
            else:
                await self._serve(scope, receive, send, headers)

    async def _serve_traced(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        # Not the path: some hold the secret of an invitation. The route says which it was.
        attributes = {"http.request.method": scope["method"]}
        with telemetry.span(scope["method"], SpanKind.SERVER, **attributes) as span:

            async def observe(message: Message) -> None:
                if message["type"] == "http.response.start" and span:
                    telemetry.fail(span, message["status"])
                await send(message)

            await self._serve(scope, receive, observe, headers)
            if span and (route := scope.get("route")):
                span.update_name(f"{scope['method']} {route.path}")
                span.set_attribute("http.route", route.path)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        started = False
        context = telemetry.current()
        assert context is not None  # noqa: S101 - activated by the caller

        async def decorate(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name for name, _ in message["headers"]}
                message["headers"] += [pair for pair in SECURITY_HEADERS if pair[0] not in present]
                message["headers"].append((b"x-request-id", context.request_id.encode()))
                message["headers"] += [(k.encode(), v.encode()) for k, v in context.response_headers.items()]
            await send(message)

        try:
            limited = not scope["path"].startswith(self._unlimited)
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or (limited and int(length) > self._body_limit):
                raise TooLargeError(f"the limit is {self._body_limit} bytes")
            await self._app(scope, self._limited(receive) if limited else receive, decorate)
        except ClientDisconnect:
            log.info("the client went away")
        except Exception as error:
            if not isinstance(error, ServiceError):
                log.error("unhandled error", extra={"fields": described(error, scope)})  # noqa: TRY400
            if started:
                raise
            failure = error if isinstance(error, ServiceError) else InternalError()
            await problem_response(failure)(scope, receive, decorate)

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_limit:
                raise HTTPException(413)
            return message

        return limited


def described(error: Exception, scope: Mapping[str, Any]) -> dict[str, Any]:
    """What the log may know of a bug: a database error's text quotes the statement's values, so it stays out."""
    database = isinstance(error, psycopg.Error)
    return {
        "route": getattr(scope.get("route"), "path", None),
        "error": type(error).__name__,
        "detail": getattr(error, "sqlstate", None) if database else str(error),
        "stack": "".join(traceback.format_tb(error.__traceback__)),
    }


_READ = frozenset((b"traceparent", b"x-request-id", b"x-forwarded-for", b"content-length"))


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value is not None else None


def _request_id(value: bytes | None) -> str | None:
    text = _text(value)
    return text if text and REQUEST_ID.fullmatch(text) else None


def client_ip(forwarded_for: str | None, peer: tuple[str, int] | None, trusted_hops: int) -> str:
    """Address the outermost trusted proxy saw; what a client wrote further left counts for nothing."""
    hops = [part.strip() for part in forwarded_for.split(",")] if forwarded_for and trusted_hops else []
    if len(hops) >= trusted_hops > 0:
        return hops[-trusted_hops][:64]
    return peer[0] if peer else ""
