"""Renders the nginx gateway and the /docs page from deploy/routes.json.

Used by `make up` and, as `python -m deploy.local.gateway <folder>`, by the gateway's container image.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deploy.local.machine import Account
from deploy.local.routes import ERRORS, SERVICES, Route, Routes, load, openapi_path

HERE = Path(__file__).parent
# Where PyPI packages keep Swagger UI. FastAPI writes OpenAPI 3.1, which Swagger UI shows from version 5 on.
SWAGGER_FILES = {
    "swagger-ui.css": "swagger-ui.css",
    "swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "favicon.png": "favicon*.png",
}
# Swagger UI sets style attributes and inline SVG images; scripts come from this page's own files only.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PROXY_HEADERS = {
    "Host": "$http_host",
    "X-Forwarded-For": "$proxy_add_x_forwarded_for",
    "X-Forwarded-Proto": "$scheme",
    "X-Forwarded-Host": '""',
    "Forwarded": '""',
    "X-Request-Id": "$mdc_request_id",
    "traceparent": "$mdc_traceparent",
    "tracestate": "$mdc_tracestate",
    "X-Sendfile-Type": '""',
}
OBJECTS = "/v1/files/objects"
SENT_OBJECTS = "/_gateway/objects/files/"
"""Where files tells us to send an object from (`common.objects.routes`)."""
# What the service said of an object goes with it; a file knows none of it.
OBJECT_HEADERS = (
    "ETag", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "X-Request-Id", "Vary",
    "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
)  # fmt: skip
OWN_HEADERS = {
    "Content-Security-Policy": "\"default-src 'none'; frame-ancestors 'none'\"",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Request-Id": "$mdc_request_id",
    # They hold nothing private, and a web app has to read them to tell "too large" from "no network".
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": '"Retry-After, X-Request-Id"',
}


@dataclass(frozen=True)
class Problem:
    """An answer of the gateway itself, in place of nginx's own status codes `instead_of`."""

    instead_of: str
    status: int
    code: str
    title: str
    detail: str
    retry_after_seconds: int | None = None


PROBLEMS = (
    Problem("400", 400, "bad_request", "Bad Request", "The request is not well-formed HTTP."),
    Problem("404", 404, "route_not_found", "Not Found", "No service answers at this path."),
    Problem("405", 405, "method_not_allowed", "Method Not Allowed", "This path does not take this method."),
    Problem("408", 408, "request_timeout", "Request Timeout", "The request did not arrive in time."),
    Problem("413", 413, "body_too_large", "Content Too Large", "The request body is larger than this path takes."),
    Problem("414", 414, "uri_too_long", "URI Too Long", "The request target is too long."),
    Problem("494", 431, "headers_too_large", "Request Header Fields Too Large", "The request headers are too large."),
    Problem("500", 500, "gateway_error", "Internal Server Error", "The gateway could not handle the request."),
    Problem("501", 501, "not_implemented", "Not Implemented", "The request uses an HTTP feature not supported here."),
    Problem("502 503", 503, "service_unavailable", "Service Unavailable", "The service is not reachable.", 2),
    Problem("504", 504, "service_timeout", "Gateway Timeout", "The service did not answer in time.", 5),
)
# As ai-proxy says them (`ai_proxy.domain.wires`).
OPENAI_TYPES = {404: "not_found_error"}
ANTHROPIC_TYPES = {
    404: "not_found_error", 413: "request_too_large", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


@dataclass(frozen=True)
class Gateway:
    """What differs between the ways to run it; `upstreams`: service -> host:port, `user`: of the workers, if root.

    `sends_objects`: the folder `objects` beside the configuration leads to those of files (`share_objects`).
    """

    listen: str
    upstreams: dict[str, str]
    user: str | None = None
    access_log: str = "logs/gateway-access.log requests buffer=32k flush=1s"
    error_log: str = "logs/gateway-error.log"
    resolver: str | None = None
    trace_sample_percent: float = 10.0
    workers: int = 2
    open_files: int = 8192
    sends_objects: bool = False


def render(gateway: Gateway, table: Routes) -> str:
    """The complete nginx configuration. Raises ValueError for a percentage out of range."""
    values = {
        "user": f"user {gateway.user};" if gateway.user else "",
        "workers": str(gateway.workers),
        "open_files": str(gateway.open_files),
        "error_log": gateway.error_log,
        "access_log": gateway.access_log,
        "resolver": f"    resolver {gateway.resolver} valid=5s;\n" if gateway.resolver else "",
        "sampling": _indent(_sampling(gateway.trace_sample_percent), 8),
        "masks": _indent(_masks(table), 8),
        "upstreams": _indent(_upstreams(gateway), 4),
        "listen": gateway.listen,
        "routes": _indent("\n".join(_locations(gateway, table)), 8),
        "docs": table.docs,
        "docs_policy": DOCS_POLICY,
        "answers": _indent("\n".join(_answers()), 8),
    }
    template = (HERE / "nginx.conf.template").read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def write_docs(folder: Path, table: Routes) -> None:
    """Put Swagger UI and the page that shows all services below `folder`, where nginx serves it."""
    place = folder / table.docs.lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    swagger = _swagger_folder()
    for name, source in SWAGGER_FILES.items():
        _place(next(swagger.glob(source)), place / name)
    _place(HERE / "docs" / "index.html", place / "index.html")
    urls = [{"name": service, "url": openapi_path(service)} for service in SERVICES]
    script = (HERE / "docs" / "docs.js").read_text().replace("[/* urls */]", json.dumps(urls))
    (place / "docs.js").write_text(script)
    (place / "docs.js").chmod(0o644)


def share_objects(folder: Path, objects: Path, user: Account | None) -> None:
    """Lead `folder`/objects to the files among `objects`, and let the gateway's workers read those, but list nothing.

    What is made in a folder with the set-group-ID bit becomes its group's (`common.objects.durable`).
    """
    files = objects / "files"
    files.mkdir(exist_ok=True)
    link = folder / "objects"
    link.unlink(missing_ok=True)
    link.symlink_to(files)
    if user is not None:
        for shared, mode in ((objects, 0o710), (files, 0o2710)):
            os.chown(shared, -1, user.gid)
            shared.chmod(mode)


def _place(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o644)


def _swagger_folder() -> Path:
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("fastapi-offline, which carries Swagger UI, is not installed")
    return Path(spec.origin).parent / "static"


def _sampling(percent: float) -> str:
    if not 0 <= percent <= 100:
        raise ValueError(f"TRACE_SAMPLE_PERCENT must be between 0 and 100, not {percent:g}")
    rows = [f"{percent:.2f}% 01;"] if 0 < percent < 100 else []
    return "\n".join([*rows, f"* {'01' if percent == 100 else '00'};"])


def _masks(table: Routes) -> str:
    before_tokens = {public.path.partition("{token}")[0] for public in table.public if "{token}" in public.path}
    return "\n".join(
        f'"~^{prefix}[^/?]+(?<mdc_rest{number}>[^?]*)" {prefix}***$mdc_rest{number};'
        for number, prefix in enumerate(sorted(before_tokens))
    )


def _upstreams(gateway: Gateway) -> str:
    def lines() -> Iterator[str]:
        for service, address in gateway.upstreams.items():
            yield f"upstream {service} {{"
            if gateway.resolver:
                yield f"    zone {service} 64k;"
            yield f"    server {address} max_fails=0{' resolve' if gateway.resolver else ''};"
            yield "    keepalive 64;"
            yield "    keepalive_requests 100000;"
            yield "    keepalive_timeout 60s;"
            yield "}"

    return "\n".join(lines())


def _locations(gateway: Gateway, table: Routes) -> Iterator[str]:
    for route in table.routes:
        sends = gateway.sends_objects and route.prefix == OBJECTS
        yield _location(route, sends=sends)
        if sends:
            yield _sent_objects(route)


def _location(route: Route, *, sends: bool) -> str:
    headers = PROXY_HEADERS | {"Connection": '""'}
    lines = [f"set $mdc_service {route.service};", f"client_max_body_size {route.body_limit_mib}m;"]
    if route.streaming:
        headers |= {"Upgrade": "$mdc_upgrade", "Connection": "$mdc_connection"}
        lines += ["proxy_request_buffering off;", "proxy_buffering off;"]
        lines += ["proxy_read_timeout 1h;", "proxy_send_timeout 1h;"]
    if sends:
        headers["X-Sendfile-Type"] = "$mdc_sends"
        lines += ["proxy_ignore_headers X-Accel-Expires X-Accel-Limit-Rate X-Accel-Charset;"]
    if route.errors != "problem":
        lines += [_error_page(problem, route.errors) for problem in PROBLEMS]
    lines += [f"proxy_set_header {name} {value};" for name, value in headers.items()]
    lines += [f"proxy_pass http://{route.service};"]
    return "\n".join(_block(match, lines) for match in (f"= {route.prefix}", f"{route.prefix}/"))


def _sent_objects(route: Route) -> str:
    """Objects sent from the folder, as the service said; what cannot be read there the service sends itself."""
    lines = ["internal;", "alias objects/;", "etag off;", "if_modified_since off;", "max_ranges 1;"]
    lines += ['add_header Last-Modified "";', "error_page 403 404 = @unsent;"]
    lines += [f"add_header {name} $upstream_http_{name.lower().replace('-', '_')};" for name in OBJECT_HEADERS]
    unsent = ["proxy_buffering off;", 'proxy_set_header Connection "";']
    unsent += [f"proxy_set_header {name} {value};" for name, value in PROXY_HEADERS.items()]
    unsent += [f"proxy_pass http://{route.service}$request_uri;"]
    return f"{_block(SENT_OBJECTS, lines)}\n{_block('@unsent', unsent)}"


def _answers() -> Iterator[str]:
    yield from (_error_page(problem, "problem") for problem in PROBLEMS)
    yield from (_answer(problem, errors) for errors in ERRORS for problem in PROBLEMS)


def _error_page(problem: Problem, errors: str) -> str:
    return f"error_page {problem.instead_of} ={problem.status} {_place_of(problem, errors)};"


def _place_of(problem: Problem, errors: str) -> str:
    # Not a named location: those fail for requests that are too broken to have a path.
    return f"/_gateway/{errors}/{problem.code}"


def _answer(problem: Problem, errors: str) -> str:
    headers = OWN_HEADERS | ({"Retry-After": str(problem.retry_after_seconds)} if problem.retry_after_seconds else {})
    kind = "application/problem+json" if errors == "problem" else "application/json"
    lines = ["internal;", "client_max_body_size 0;", "types {}", f"default_type {kind};"]
    lines += [f"add_header {name} {value} always;" for name, value in headers.items()]
    lines += [f"return {problem.status} '{json.dumps(_body(problem, errors))}';"]
    return _block(f"= {_place_of(problem, errors)}", lines)


def _body(problem: Problem, errors: str) -> dict[str, Any]:
    ours = problem.status >= 500
    if errors == "openai":
        type_ = OPENAI_TYPES.get(problem.status, "server_error" if ours else "invalid_request_error")
        return {"error": {"message": problem.detail, "type": type_, "param": None, "code": problem.code}}
    if errors == "anthropic":
        type_ = ANTHROPIC_TYPES.get(problem.status, "api_error" if ours else "invalid_request_error")
        error = {"type": type_, "message": problem.detail, "code": problem.code}
        return {"type": "error", "error": error, "request_id": "$mdc_trace_id"}
    return {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "trace_id": "$mdc_trace_id",
    }


def _block(match: str, lines: Sequence[str]) -> str:
    return "\n".join([f"location {match} {{", *(f"    {line}" for line in lines), "}"])


def _indent(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line if line else "" for line in text.splitlines())


def main() -> None:
    """Write nginx.conf and html/ for the container image: services by name, logs to the container's own."""
    folder = Path(sys.argv[1])
    table = load()
    gateway = Gateway(
        listen="0.0.0.0:8080",
        upstreams={service: f"{service}:8000" for service in SERVICES},
        user="nginx",
        access_log="/dev/stdout requests",
        error_log="/dev/stderr",
        resolver="127.0.0.11",
    )
    write_docs(folder / "html", table)
    (folder / "nginx.conf").write_text(render(gateway, table))


if __name__ == "__main__":
    main()
