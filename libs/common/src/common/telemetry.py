"""Traces and logs: W3C trace context, spans appended to files, JSON log lines, `make trace`.

Unsampled requests cost no span at all; the gateway decides sampling (flag of `traceparent`).
"""

import json
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
ROTATE_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class RequestContext:
    """What logs, problems and outgoing calls need to know of the request at hand."""

    trace_id: str
    span_id: str
    sampled: bool
    request_id: str
    client_ip: str = ""
    response_headers: dict[str, str] = field(default_factory=dict)

    @property
    def traceparent(self) -> str:
        """W3C Trace Context header for calls made on behalf of this request."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current() -> RequestContext | None:
    """Context of the request being served, if there is one."""
    return _current.get()


def trace_id() -> str:
    """Trace id of the request at hand, 32 hex digits, or zeros outside of one."""
    context = _current.get()
    return context.trace_id if context else "0" * 32


def xray_trace_id(w3c: str) -> str:
    """AWS X-Ray's spelling of a W3C trace id (`1-<8 hex>-<24 hex>`)."""
    return f"1-{w3c[:8]}-{w3c[8:]}"


def begin(traceparent: str | None, request_id: str | None) -> RequestContext:
    """Continue the caller's trace if its header is well-formed, else start an unsampled one."""
    match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match:
        trace_hex, parent, flags = match.groups()
        sampled = bool(int(flags, 16) & 1)
    else:
        trace_hex, parent, sampled = secrets.token_hex(16), secrets.token_hex(8), False
    return RequestContext(trace_hex, parent, sampled, request_id or trace_hex)


@contextmanager
def activate(context: RequestContext) -> Iterator[None]:
    """Make `context` the current one for this task."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Iterator[Span | None]:
    """A span below the current one; does nothing in unsampled traces."""
    context = _current.get()
    if context is None or not context.sampled:
        yield None
        return
    parent = SpanContext(
        int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    tracer = trace.get_tracer("mdcreator")
    outer = context.span_id
    with tracer.start_as_current_span(
        name,
        trace.set_span_in_context(NonRecordingSpan(parent)),
        kind,
        attributes,
        record_exception=False,  # the text of a database error may quote what somebody wrote
        set_status_on_exception=True,
    ) as active:
        context.span_id = f"{active.get_span_context().span_id:016x}"
        try:
            yield active
        finally:
            context.span_id = outer


def start(name: str, kind: SpanKind, traceparent: str | None) -> Span | None:
    """A span below a remote one, ended by the caller; None if the remote one is not sampled."""
    match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if not match or not int(match[3], 16) & 1:
        return None
    parent = SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return trace.get_tracer("mdcreator").start_span(name, trace.set_span_in_context(NonRecordingSpan(parent)), kind)


def traceparent_of(active: Span) -> str:
    """W3C header that continues the trace below this span."""
    context = active.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def fail(active: Span, status_code: int) -> None:
    """Mark a server span with the HTTP status; 5xx is an error."""
    active.set_attribute("http.response.status_code", status_code)
    if status_code >= 500:  # noqa: PLR2004 - HTTP server errors
        active.set_status(Status(StatusCode.ERROR))


class SpanFile(SpanExporter):
    """Append spans as JSON lines to one file per process and boot; keep 64 MiB x 2."""

    def __init__(self, folder: Path, service: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{service}-{os.getpid()}-{time.time_ns():x}.jsonl"
        self._service = service

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write a batch; called from the exporter's own thread."""
        if self._path.exists() and self._path.stat().st_size > ROTATE_BYTES:
            self._path.replace(self._path.with_suffix(".old.jsonl"))
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(self._record(item)) + "\n" for item in spans)
        return SpanExportResult.SUCCESS

    def _record(self, item: ReadableSpan) -> dict[str, Any]:
        context = item.get_span_context()
        start, end = item.start_time or 0, item.end_time or 0
        return {
            "trace_id": f"{context.trace_id:032x}" if context else "",
            "span_id": f"{context.span_id:016x}" if context else "",
            "parent_id": f"{item.parent.span_id:016x}" if item.parent else None,
            "service": self._service,
            "name": item.name,
            "start_ns": start,
            "duration_ms": round((end - start) / 1e6, 3),
            "error": item.status.status_code is StatusCode.ERROR,
            "attributes": dict(item.attributes or {}),
        }


def setup(service: str, state_dir: Path, otlp_endpoint: str | None, level: str) -> TracerProvider:
    """Install the tracer provider and JSON logging of this process; call `shutdown()` on the result at the end."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(SpanFile(state_dir / "telemetry", service), schedule_delay_millis=500)
    )
    if otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint)))
    trace.set_tracer_provider(provider)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    return provider


class JsonFormatter(logging.Formatter):
    """One JSON object a line with the ids that join logs and traces."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render `record`; values passed as `extra={"fields": {...}}` become members."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if context := _current.get():
            line["trace_id"] = context.trace_id
            line["xray_trace_id"] = xray_trace_id(context.trace_id)
            line["request_id"] = context.request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def read_spans(folder: Path, wanted: str) -> list[dict[str, Any]]:
    """All spans of one trace found under `folder`, oldest first."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            found += [json.loads(line) for line in file if wanted in line and line.endswith("\n")]
    return sorted((item for item in found if item["trace_id"] == wanted), key=lambda item: item["start_ns"])


def render_tree(spans: Sequence[dict[str, Any]]) -> list[str]:
    """Indented lines, children below their parent, times relative to the first span."""
    known = {item["span_id"] for item in spans}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for item in spans:
        children.setdefault(item["parent_id"] if item["parent_id"] in known else None, []).append(item)
    origin = min((item["start_ns"] for item in spans), default=0)

    def lines(parent: str | None, depth: int) -> Iterator[str]:
        for item in children.get(parent, []):
            offset = (item["start_ns"] - origin) / 1e6
            mark = " ERROR" if item["error"] else ""
            name = f"{'  ' * depth}{item['service']}: {item['name']}{mark}"
            yield f"{offset:9.2f} ms {item['duration_ms']:9.2f} ms  {name}"
            yield from lines(item["span_id"], depth + 1)

    return list(lines(None, 0))


def main(arguments: Sequence[str]) -> int:
    """`python -m common.telemetry trace <id>`: print one request's tree from the state folder."""
    if len(arguments) != 2 or arguments[0] != "trace" or not re.fullmatch(r"[0-9a-f]{32}", arguments[1]):  # noqa: PLR2004
        sys.stderr.write("usage: make trace ID=<32 hex digits: trace_id of a problem, second part of a traceparent>\n")
        return 2
    spans = read_spans(Path(os.environ["MDC_STATE_DIR"]) / "telemetry", arguments[1])
    if not spans:
        sys.stderr.write("no spans of this trace: not sampled (flag 01 in traceparent), or older than the files\n")
        return 1
    sys.stdout.write("\n".join(["   start       duration", *render_tree(spans)]) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
