"""The instruments of `make bench table=ai` see what is there, and what is missing."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import psutil
import pytest
from deploy.bench.ai.measure import WORDS, check, memory, paced, throughput
from deploy.bench.ai.report import report
from deploy.bench.ai.servers import Direct, Server
from deploy.bench.ai.table import FAILURES
from deploy.provider.behaviour import Behaviour
from deploy.provider.server import Running, running

ROW = {"first p50": 1.0, "first p95": 1.0, "chunk p50": 1.0, "chunk p95": 1.0, "CPU/stream": 1.0, "requests/s": 100.0,
       "CPU ms": 1.0, "PostgreSQL ms": 0.0, "idle MB": 1.0, "open MB": 2.0, "KB/stream": 1.0}  # fmt: skip


class Near(Direct):
    """A provider in this process."""

    def __init__(self, provider: Running) -> None:
        super().__init__()
        self.port = int(provider.url.rpartition(":")[2])

    def processes(self) -> Sequence[psutil.Process]:
        return [psutil.Process()]


async def test_everything_that_is_sent_is_counted() -> None:
    async with running() as provider:
        server = Near(provider)
        await check(server)
        numbers = await paced(server, 3, 3)
        assert 0 < numbers["chunk p50"] <= numbers["chunk p95"]
        assert [one.pieces for one in provider.record.requests if one.model == f"dev-clock-{WORDS}"] == [WORDS] * 3
        before = provider.record.count
        for streamed in (False, True):
            assert (await throughput(server, 2, 0.1, streamed=streamed))["requests/s"] > 0
        assert provider.record.count > before
        assert (await memory(server, 3))["open MB"] > 0
        assert await provider.record.until(lambda: provider.record.open == 0, 10)


@pytest.mark.parametrize("fault", ["half", "error", "disconnect"])
@pytest.mark.parametrize(
    "measure",
    [check, partial(paced, streams=1, at_once=1), partial(throughput, at_once=1, seconds=0.1, streamed=True)],
    ids=["check", "paced", "throughput"],
)
async def test_what_is_lost_is_seen(fault: str, measure: Callable[[Server], Awaitable[object]]) -> None:
    async with running() as provider:
        provider.behaviours.set("*", Behaviour.parse({"fault": fault, "tokens": WORDS, "clock": True}), None)
        with pytest.raises(FAILURES):
            await measure(Near(provider))


def test_ratios_and_what_is_added_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from deploy.bench.ai.ours import Ours
    from deploy.bench.ai.servers import LiteLLM, Portkey

    servers = [Direct(), Ours(through_gateway=False), Portkey(), LiteLLM()]
    titles = ["memory, 5 streams open", "paced, 1 at once", "whole, 1 in flight", "streamed, 1 in flight"]
    found = {(title, server.name): [dict(ROW)] for title in titles for server in servers}
    found["whole, 1 in flight", "ours"] = [ROW | {"requests/s": 5000.0}]
    found["paced, 1 at once", "ours"] = [ROW | {"first p50": 5.5}]
    report(servers, titles, {**found, ("whole, 1 in flight", "Portkey gateway"): ["TimeoutError x"]}, 1)
    said = capsys.readouterr().out
    assert "5.50 (+4.50)" in said
    assert "5,000/s, 1.00 ms (50.0x, -)" in said
    assert "failed: TimeoutError x" in said
    assert "ours: fail, paced, 1 at once: 4.50 ms added; streamed, 1 in flight: 1.0x LiteLLM proxy" in said
