"""What goes around an answer in each dialect: keys, headers, errors, the list of models."""

import hmac
from typing import Any

import orjson
from aiohttp import web

from deploy.provider.behaviour import LISTED
from deploy.provider.dialect import CREATED
from deploy.provider.pointing import ANTHROPIC_KEY, OPENAI_KEY
from deploy.provider.prompt import Json, RefusedError

OWN_KEYS = "dev-own-"
EVENTS = "text/event-stream; charset=utf-8"
JSON = "application/json"
CREATED_AT = "2025-06-15T15:06:40Z"
OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
ANTHROPIC_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
SAID = {401: "Incorrect API key provided.", 429: "Rate limit reached for requests.", 529: "Overloaded"}


def is_anthropic(request: web.Request) -> bool:
    """Which dialect is spoken; `/v1/models` is in both, told apart as the SDKs do."""
    return request.path.startswith("/v1/messages") or "anthropic-version" in request.headers


def check_key(request: web.Request) -> None:
    """Raises `RefusedError` without a good key."""
    good, given = ANTHROPIC_KEY if is_anthropic(request) else OPENAI_KEY, _given(request)
    if is_anthropic(request) and "anthropic-version" not in request.headers:
        raise RefusedError("anthropic-version: header is required")
    if not (hmac.compare_digest(given.encode(), good.encode()) or given.startswith(OWN_KEYS)):
        raise of_status(401)


def _given(request: web.Request) -> str:
    """The key; Anthropic's newer SDKs send it as a bearer token too."""
    named = request.headers.get("x-api-key") if is_anthropic(request) else None
    return named or request.headers.get("Authorization", "").removeprefix("Bearer ")


def of_status(status: int, retry_after: int | None = None) -> RefusedError:
    """The error that a model such as `dev-429` asks for."""
    said = SAID.get(status, "The development provider was asked to fail.")
    return RefusedError(said, status=status, retry_after=retry_after)


def refusal(request: web.Request, error: RefusedError) -> web.Response:
    """An error in the dialect's shape."""
    headers = told(request, JSON)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    body = _anthropic(error) if is_anthropic(request) else _openai(error)
    return web.Response(status=error.status, body=orjson.dumps(body), headers=headers)


def _openai(error: RefusedError) -> Json:
    kind = "requests" if error.status == 429 else "server_error" if error.status >= 500 else "invalid_request_error"
    code = error.code or OPENAI_CODES.get(error.status)
    return {"error": {"message": error.message, "type": kind, "param": error.parameter, "code": code}}


def _anthropic(error: RefusedError) -> Json:
    plain = "api_error" if error.status >= 500 else "invalid_request_error"
    detail = {"type": ANTHROPIC_TYPES.get(error.status, plain), "message": error.message}
    return {"type": "error", "error": detail, "request_id": "req_dev"}


def told(request: web.Request, kind: str) -> dict[str, str]:
    """Headers of an answer."""
    if is_anthropic(request):
        return {"Content-Type": kind, "request-id": "req_dev", "anthropic-organization-id": "dev"}
    return {
        "Content-Type": kind, "x-request-id": "req_dev", "openai-version": "2020-10-01",
        "openai-organization": "dev", "openai-processing-ms": "1",
    }  # fmt: skip


def models(request: web.Request) -> Any:
    """All models, or the one that is asked for."""
    described = [_model(request, name) for name in LISTED]
    if name := request.match_info.get("model"):
        return _model(request, name)
    if is_anthropic(request):
        return {"data": described, "has_more": False, "first_id": LISTED[0], "last_id": LISTED[-1]}
    return {"object": "list", "data": described}


def _model(request: web.Request, name: str) -> Json:
    if is_anthropic(request):
        return {"type": "model", "id": name, "display_name": f"{name} (not a model)", "created_at": CREATED_AT}
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "development-provider"}
