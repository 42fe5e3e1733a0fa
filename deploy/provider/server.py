"""The HTTP server: who may, which endpoint, how it is treated, how it is sent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web

from deploy.provider import answers, chat, messages, responses
from deploy.provider.behaviour import LISTED, Behaviour, Behaviours
from deploy.provider.embeddings import embed
from deploy.provider.prompt import Counted, Prompt, RefusedError, Rendered, Reply, words
from deploy.provider.record import Received, Record
from deploy.provider.sending import BLANK, Sending
from deploy.provider.wire import check_key, models, refusal

BODY_LIMIT = 64 * 1024 * 1024
CACHED_BODY = 16 * 1024
HOST = "127.0.0.1"
OVERRUN = 10


@dataclass(frozen=True)
class Endpoint:
    """One way to ask for text."""

    prompt: Callable[[Mapping[str, Any]], Prompt]
    render: Callable[..., Rendered]


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(chat.prompt, chat.render),
    "/v1/responses": Endpoint(responses.prompt, responses.render),
    "/v1/messages": Endpoint(messages.prompt, messages.render),
}


@lru_cache(maxsize=256)
def _rendered(path: str, data: bytes, tokens: int | None, usage: str, *, clock: bool) -> tuple[Rendered, bool]:
    """The answer to a body, and whether it is streamed."""
    endpoint = ENDPOINTS[path]
    prompt = endpoint.prompt(orjson.loads(data))
    one = answers.answer(prompt) if tokens is None else _limit(words(tokens, BLANK if clock else None), prompt)
    replies = [one] * prompt.choices
    times = {"overrun": OVERRUN, "zero": 0}.get(usage, 1)
    counted = Counted(prompt.tokens * times, one.tokens * prompt.choices * times)
    return endpoint.render(prompt, replies, None if usage == "none" else counted), prompt.stream


def _limit(reply: Reply, prompt: Prompt) -> Reply:
    if prompt.most is not None and len(reply.text) > prompt.most:
        return Reply(reply.text[: prompt.most], end="length")
    return reply


class Provider:
    """The application, and what tests look into."""

    def __init__(self, default: Behaviour | None = None, keep: int = 10_000) -> None:
        self.record = Record(keep)
        self.behaviours = Behaviours(default or Behaviour())

    def application(self) -> web.Application:
        """With all routes."""
        app = web.Application(client_max_size=BODY_LIMIT)
        for path in ENDPOINTS:
            app.router.add_post(path, self._text)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{model}", self._models)
        app.router.add_put("/control/behaviours/{model}", self._set)
        app.router.add_delete("/control", self._forget)
        app.router.add_get("/control/requests", self._listed)
        app.router.add_get("/control/open", self._open)
        app.router.add_get("/control/wait", self._wait)
        return app

    async def _text(self, request: web.Request) -> web.StreamResponse:
        async def send(data: bytes, behaviour: Behaviour, received: Received) -> web.StreamResponse:
            made = _rendered if len(data) <= CACHED_BODY else _rendered.__wrapped__
            rendered, streamed = made(request.path, data, behaviour.tokens, behaviour.usage, clock=behaviour.clock)
            received.stream = streamed
            return await Sending(request, received, behaviour, rendered).run(streamed=streamed)

        return await self._answer(request, send)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        async def send(data: bytes, behaviour: Behaviour, received: Received) -> web.StreamResponse:
            body, _ = embed(orjson.loads(data))
            return await Sending(request, received, behaviour, Rendered(whole=body)).run(streamed=False)

        return await self._answer(request, send)

    async def _count(self, request: web.Request) -> web.StreamResponse:
        async def send(data: bytes, behaviour: Behaviour, received: Received) -> web.StreamResponse:
            counted = messages.prompt(orjson.loads(data), counting=True).tokens
            body = orjson.dumps({"input_tokens": counted})
            return await Sending(request, received, behaviour, Rendered(whole=body)).run(streamed=False)

        return await self._answer(request, send)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        async def send(_data: bytes, behaviour: Behaviour, received: Received) -> web.StreamResponse:
            body = orjson.dumps(models(request))
            return await Sending(request, received, behaviour, Rendered(whole=body)).run(streamed=False)

        return await self._answer(request, send)

    async def _answer(self, request: web.Request, send: Callable[..., Any]) -> web.StreamResponse:
        """Receive, check, treat as set, send; note all of it."""
        data = await request.read()
        body = _parsed(data)
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = self.record.begin(request.method, request.path, request.query_string, headers, body)
        end: Any = "closed by caller"
        answer: web.StreamResponse
        try:
            answer = await send(data, self._admitted(request, body, received), received)
            end = "broken off" if received.end == "broken off" else "done"
        except RefusedError as error:
            answer, end = refusal(request, error), "done"
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            refused = RefusedError(f"The body is not what this endpoint takes: {type(error).__name__}.")
            answer, end = refusal(request, refused), "done"
        except ConnectionError:
            answer = web.Response(status=499)
        finally:
            self.record.finish(received, end)
        return answer

    def _admitted(self, request: web.Request, body: Any, received: Received) -> Behaviour:
        """How the request is treated. Raises `RefusedError` without a good key, for unknown models, for bad bodies."""
        check_key(request)
        if request.method == "POST" and not isinstance(body, dict):
            raise RefusedError("We could not parse the JSON body of your request.")
        received.model = str(request.match_info.get("model") or (body or {}).get("model") or "")
        if request.method == "GET" and not received.model:
            received.model = LISTED[0]
        if not received.model:
            raise RefusedError("you must provide a model parameter")
        behaviour = self.behaviours.take(received.model)
        if behaviour is None:
            raise RefusedError(f"The model `{received.model}` does not exist.", status=404, parameter="model")
        return behaviour

    async def _set(self, request: web.Request) -> web.Response:
        _only_loopback(request)
        body = await request.json()
        try:
            behaviour = Behaviour.parse(body.get("behaviour", {}))
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        self.behaviours.set(request.match_info["model"], behaviour, body.get("times"))
        return web.json_response({})

    async def _forget(self, request: web.Request) -> web.Response:
        _only_loopback(request)
        self.record.clear()
        self.behaviours.clear()
        return web.json_response({})

    async def _listed(self, request: web.Request) -> web.Response:
        _only_loopback(request)
        return web.json_response(self.record.listed())

    async def _open(self, request: web.Request) -> web.Response:
        _only_loopback(request)
        below = int(request.query.get("below", "1000000000"))
        await self.record.until(lambda: self.record.open < below, float(request.query.get("seconds", "0")))
        return web.json_response({"open": self.record.open})

    async def _wait(self, request: web.Request) -> web.Response:
        _only_loopback(request)
        wanted = int(request.query["requests"])
        await self.record.until(lambda: self.record.count >= wanted, float(request.query.get("seconds", "5")))
        return web.json_response({"requests": self.record.count})


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")


def _only_loopback(request: web.Request) -> None:
    if not ip_address(request.remote or "0.0.0.0").is_loopback:
        raise web.HTTPNotFound


@dataclass(frozen=True)
class Running:
    """A provider in this process."""

    url: str
    provider: Provider

    @property
    def record(self) -> Record:
        return self.provider.record

    @property
    def behaviours(self) -> Behaviours:
        return self.provider.behaviours


@asynccontextmanager
async def running(
    port: int = 0, *, host: str = HOST, default: Behaviour | None = None, keep: int = 10_000
) -> AsyncIterator[Running]:
    """Serve in this event loop; port 0 takes a free one."""
    provider = Provider(default, keep)
    runner = web.AppRunner(
        provider.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1, handle_signals=False
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        yield Running(f"http://{host}:{runner.addresses[0][1]}", provider)
    finally:
        await runner.cleanup()
