"""A process that is killed in the middle of calls: another one counts them, and nothing stays reserved."""

import asyncio
import os
import signal
import sys
import time

import httpx
from deploy.local.machine import free_ports
from deploy.provider.behaviour import Behaviour
from test_native import CHAT, chat, usage_of

from ai_proxy.domain.reckoning import UNSEEN_TOKENS_A_SECOND

LEASE = "5"


async def test_what_a_killed_process_had_under_way_is_counted(
    ada, workspace, provider, environment, owner, own, tmp_path
):
    own.meter._steady_since -= own.meter._caps.lease_seconds  # as if it had run for long
    port, internal = free_ports(2)
    told = {"AI_PROXY_PORT": str(port), "AI_PROXY_INTERNAL_PORT": str(internal), "AI_PROXY_LEASE_SECONDS": LEASE}
    provider.behaviours.set("dev-small", Behaviour(piece_seconds=0.02, tokens=50_000), None)
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "common.serve", "ai-proxy", env={**os.environ, **environment, **told},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            await _until_ready(http)
            headers = {"Authorization": f"Bearer {ada.token}"}
            body = chat(text="fox " * 100, max_tokens=9_000, stream=True)
            asked = time.monotonic()
            async with http.stream("POST", CHAT, json=body, headers=headers) as answer:
                assert answer.status_code == 200
                await _until_seen(owner, ada)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                received = provider.record.requests[-1]
                assert await provider.record.until(lambda: received.end != "open", 5)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    used = await usage_of(ada)
    [row] = owner.execute(
        "SELECT outcome, estimated, input_tokens, output_tokens FROM ai_proxy.usage WHERE user_id = %s", (ada.id,)
    ).fetchall()
    assert row[:2] == ("crashed", True)
    assert 90 <= row[2] <= 250, "about what was asked"
    dark = UNSEEN_TOKENS_A_SECOND * (time.monotonic() - asked)
    assert 0 < row[3] <= received.pieces * 2 + dark, "of the answer what was seen, not all that was reserved"
    assert used["items"][0]["tokens"] == row[2] + row[3]
    [left] = owner.execute(
        "SELECT max(reserved_tokens), max(reserved_micro_usd) FROM ai_proxy.counter WHERE subject_id IN (%s, %s)",
        (ada.id, workspace),
    ).fetchall()
    assert left == (0, 0)
    assert "fox fox" not in (tmp_path / "log").read_text()


async def _until_ready(http):
    async with asyncio.timeout(30):
        while True:
            try:
                if (await http.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def _until_seen(owner, person):
    """Until a beat has noted how far the stream is."""
    async with asyncio.timeout(20):
        while True:
            row = owner.execute(
                "SELECT seen_tokens FROM ai_proxy.reservation WHERE user_id = %s", (person.id,)
            ).fetchone()
            if row and row[0] > 10:
                return
            await asyncio.sleep(0.02)
