"""The official npm SDKs of OpenAI and Anthropic, run in node against a base URL."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.editors import install, node

HERE = Path(__file__).parent
SECONDS = 60.0


async def run(door: Mapping[str, Any]) -> dict[str, Any]:
    """What each check saw, by its name; a check that failed says `error: …`. Raises `CommandFailedError`."""
    folder = await asyncio.to_thread(install, HERE, "ai-sdks")
    process = await asyncio.create_subprocess_exec(
        node(), str(folder / "sdks.mjs"), json.dumps(door), cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, complaints = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = [json.loads(line) for line in out.decode().splitlines()]
    assert process.returncode == 0, complaints.decode()
    return {one["check"]: one.get("saw") or f"error: {one.get('error')}" for one in told}
