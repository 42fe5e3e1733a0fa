"""Assertions every service's route tests share."""

from typing import Any

import httpx


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem body of `answer`, which must be this failure in RFC 9457 form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "trace_id"} <= set(body)
    assert (body["code"], body["status"]) == (code, status)
    return body
