"""What stands before every request: who asks, the key, the size, the time, the queue. An ASGI middleware.

It parses no body. A request that is refused is read to its end first, within limits: a client that is still sending
would see a broken connection in place of the answer.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from time import perf_counter

from edge_tl.device.records.codec import Json
from edge_tl.device.serve.metrics import ServeMetrics
from edge_tl.device.serve.names import unwelcome
from edge_tl.device.serve.options import ServeOptions

Message = Json  # as ASGI has them
Scope = Json
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/healthz", "/v2/health/live", "/v2/health/ready", "/openapi.json", "/docs")
RETRY_S = 1
_DRAIN_S, _DRAIN_TIMES = 5.0, 4  # of a refused request: so long, and so many times the most that is taken


class Refused(Exception):
    """A request that gets `status` and a sentence in place of an answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Around `app`. A client that went away before its request was whole is no error: its status is 0."""

    def __init__(self, app: App, options: ServeOptions, metrics: ServeMetrics) -> None:
        self._app, self._options, self._metrics = app, options, metrics
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(self._options, scope, receive, send)
        start, heavy = perf_counter(), scope["method"] == "POST"
        try:
            self._check(scope, heavy)
            self._active += heavy
            self._metrics.active.set(self._active)
            try:
                await self._run(request, scope)
            finally:
                self._active -= heavy
                self._metrics.active.set(self._active)
        except Refused as refused:
            await request.refuse(refused)
        finally:
            self._metrics.request(_route(scope), request.status, perf_counter() - start)

    def _check(self, scope: Scope, heavy: bool) -> None:
        headers = dict(scope["headers"])
        if reason := unwelcome(headers, self._options):
            raise Refused(403, reason)
        if (
            self._options.key is not None
            and scope["path"] not in OPEN
            and not _shows(headers, self._options.key)
        ):
            raise Refused(401, "the API key is missing or wrong. Send it as `Authorization: Bearer KEY`.")
        if not heavy:
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._options.limits.body_bytes:
            raise Refused(413, _too_large(self._options))
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["path"] == "/predict" and kind != b"multipart/form-data":
            said = kind.decode("latin-1")[:60] or "no content type"
            raise Refused(415, f"{said}. Send multipart/form-data with the images as fields `file`.")
        if self._active >= self._options.limits.queue:
            raise Refused(503, f"{self._active} requests are in work already. Try again in {RETRY_S} s.")

    async def _run(self, request: _Request, scope: Scope) -> None:
        """The app, which has until the request's deadline. Raises `Refused`."""
        from starlette.requests import ClientDisconnect

        try:
            await asyncio.wait_for(self._app(scope, request.receive, request.send), request.left)
        except (TimeoutError, asyncio.TimeoutError):
            if request.whole:
                raise Refused(
                    503, "it took too long, because too much is asked at once. Try again."
                ) from None
            raise Refused(408, "the request did not arrive in time. Send it again.") from None
        except ClientDisconnect:
            if not request.gone:
                raise
        if request.refused:
            raise request.refused


class _Request:
    """One request: counts what arrives, remembers what was answered."""

    def __init__(self, options: ServeOptions, scope: Scope, receive: Receive, send: Send) -> None:
        self._options, self._receive, self._send = options, receive, send
        self._v2 = str(scope["path"]).startswith("/v2")
        self._bytes = 0
        self.refused: Refused | None = None
        self.gone = False
        self.status, self.whole = 0, scope["method"] != "POST"
        self._deadline = asyncio.get_running_loop().time() + options.limits.timeout_s

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(self._deadline - asyncio.get_running_loop().time(), 0.0)

    async def receive(self) -> Message:
        """The next part of the body. Raises `Refused` for more than a request may have, and remembers that: whoever
        parses the body makes an error of its own of it."""
        if self.whole:
            return await self._receive()
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            self.gone = True
        if self._bytes > self._options.limits.body_bytes:
            self.refused = Refused(413, _too_large(self._options))
            raise self.refused
        return message

    async def send(self, message: Message) -> None:
        """Part of the app's answer, which does not count once the request is refused or its sender gone."""
        if not self.refused and not self.gone:
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with the reason, as the protocol of the path has it; nothing where the answer has begun."""
        if self.status:
            return
        if refused.status != 408:  # what did not come in time is not waited for
            await self._drain()
        body = json.dumps({"error" if self._v2 else "detail": refused.reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refused.status in (429, 503):
            headers.append((b"retry-after", str(RETRY_S).encode()))
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if not self.whole:
            headers.append((b"connection", b"close"))
        await self._answer({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._answer({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        most = _DRAIN_TIMES * self._options.limits.body_bytes
        with suppress(TimeoutError, asyncio.TimeoutError):
            end = asyncio.get_running_loop().time() + _DRAIN_S
            while not self.whole and self._bytes < most:
                left = max(end - asyncio.get_running_loop().time(), 0.0)
                message = await asyncio.wait_for(self._receive(), left)
                self._bytes += len(message.get("body", b""))
                self.whole = message["type"] == "http.disconnect" or not message.get("more_body", False)


def _shows(headers: MutableMapping[bytes, bytes], key: bytes) -> bool:
    """In a time that does not depend on how much of it is right."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        given = headers.get(b"x-api-key", b"")
    return hmac.compare_digest(given.strip(), key)


def _too_large(options: ServeOptions) -> str:
    return f"more than {options.limits.body_mb:g} MB in one request. Send fewer or smaller images."


def _route(scope: Scope) -> str:
    """The path as the app knows it: what somebody made up is not remembered."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
