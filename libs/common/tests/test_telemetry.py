"""Spans reach the files and come back as a tree; logs carry the ids that join them; unsampled requests cost nothing."""

import json
import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from common import telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans(tmp_path, monkeypatch):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(telemetry.SpanFile(tmp_path, "documents")))
    monkeypatch.setattr(telemetry.trace, "get_tracer", provider.get_tracer)
    return lambda: telemetry.read_spans(tmp_path, TRACE)


def sampled(flag="01"):
    return telemetry.begin(f"00-{TRACE}-b7ad6b7169203331-{flag}", None)


def test_spans_of_a_request_form_a_tree(spans):
    with telemetry.activate(sampled()), telemetry.span("GET /x"), telemetry.span("SQL SELECT"):
        pass
    outer, inner = spans()
    assert outer["name"] == "GET /x"
    assert outer["parent_id"] == "b7ad6b7169203331"
    assert inner["parent_id"] == outer["span_id"]
    lines = telemetry.render_tree(spans())
    assert "documents: GET /x" in lines[0]
    assert "  documents: SQL SELECT" in lines[1]


def test_unsampled_requests_make_no_span_but_keep_their_trace_id(spans):
    with telemetry.activate(sampled("00")), telemetry.span("GET /x") as span:
        assert span is None
        assert telemetry.trace_id() == TRACE
        assert telemetry.current().traceparent.endswith("-00")
    assert spans() == []


def test_outgoing_calls_name_the_innermost_span(spans):
    with telemetry.activate(sampled()) as _, telemetry.span("outer"):
        parent = telemetry.current().traceparent.split("-")[2]
    assert [item["span_id"] for item in spans()] == [parent]


def test_an_exception_marks_its_span(spans):
    with pytest.raises(ValueError, match="x"), telemetry.activate(sampled()), telemetry.span("fails"):
        raise ValueError("x")
    assert spans()[0]["error"] is True


def test_log_lines_join_the_trace():
    record = logging.makeLogRecord({"msg": "hello %s", "args": ("you",), "fields": {"n": 1}, "levelname": "INFO"})
    with telemetry.activate(sampled()):
        line = json.loads(telemetry.JsonFormatter("documents").format(record))
    assert line["message"] == "hello you"
    assert line["trace_id"] == TRACE
    assert line["xray_trace_id"] == "1-0af76519-16cd43dd8448eb211c80319c"
    assert line["n"] == 1
    assert line["request_id"]


def test_files_rotate(tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry, "ROTATE_BYTES", 10)
    exporter = telemetry.SpanFile(tmp_path, "documents")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(5):
        with provider.get_tracer("t").start_as_current_span("x"):
            pass
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_make_trace_says_what_it_wants(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MDC_STATE_DIR", str(tmp_path))
    assert telemetry.main(["trace", "nonsense"]) == 2
    assert telemetry.main(["trace", TRACE]) == 1
    assert "not sampled" in capsys.readouterr().err
