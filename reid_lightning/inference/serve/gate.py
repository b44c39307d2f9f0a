"""The gate of a server: who may ask, how often, how much, and how long; refused before a body is read."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from reid_lightning.inference.serve.metrics import Metrics
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.rate import Rate
from reid_lightning.inference.serve.settings import Settings, is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/openapi.json")  # without a token: nothing of the gallery is in them
ROUTES = (*OPEN, "/info", "/people", "/metrics", "/search", "/compare", "/describe", "/enrol", "/forget")
THUMBNAILS = "/thumbnails/"
LINGER = (
    1.0,
    5.0,
)  # seconds for which a refused body is read on, so that the client reads the answer; a too large one
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _TooLate(Exception):
    """A request has taken too long."""


@dataclass
class _Request:
    """A request under way.

    Attributes:
        route: Path as metrics name it.
        taken: Bytes of its body so far.
        complete: Whether the body has come to its end.
        status: Of the answer; 0 before it.
    """

    route: str
    taken: int = 0
    complete: bool = False
    status: int = 0


class Gate:
    """An ASGI application that lets requests through to another one.

    Args:
        app: What answers.
        settings: The limits.
        metrics: What counts.
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._rate, self._in_progress = Rate(settings.per_minute), 0
        self._token = None if settings.token is None else _digest(settings.token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # there are no web sockets; the server answers 403
        start, request = time.perf_counter(), _Request(_route(scope["path"]))
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }

        async def counted_receive() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.request":
                request.taken += len(message.get("body", b""))
                request.complete = not message.get("more_body", False)
                if request.taken > self.settings.max_bytes:
                    raise self._too_large()
            return message

        async def dressed_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                there = {name.lower() for name, _ in message.get("headers", [])}
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [
                    *message.get("headers", []),
                    *(pair for pair in own if pair[0] not in there),
                ]
            await send(message)

        try:
            await self._through(scope, headers, request, (receive, counted_receive), dressed_send)
        finally:
            self.metrics.answered(request.route, request.status, time.perf_counter() - start)

    async def _through(
        self,
        scope: Scope,
        headers: dict[str, str],
        request: _Request,
        receives: tuple[Receive, Receive],
        send: Send,
    ) -> None:
        plain, counted = receives
        try:
            self._admit(scope, headers)
            await self._timed(scope, counted, send)
            return
        except Problem as refused:
            problem = refused
            if "expect" not in headers:
                await _drain(plain, LINGER[problem.status_code == 413])
        except _TooLate:
            if request.status:  # the answer has begun, and cannot be another one now
                raise
            problem = self._too_slow(request)
        await _answer(problem, send)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, for a limited time."""
        self._count(1)
        try:
            async with asyncio.timeout(self.settings.timeout) as limit:
                await self.app(scope, receive, send)
        except TimeoutError as error:
            raise _TooLate if limit.expired() else error from error
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._in_progress += change
        self.metrics.in_progress.set(self._in_progress)

    def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        """Refuse a request by its head.

        Raises:
            Problem: It is refused.
        """
        if self._in_progress >= self.settings.most_requests:
            raise Problem(503, "The server has too many requests in progress: try again soon.", retry_after=1)
        address = (scope.get("client") or ("", 0))[0]
        if scope["path"] != "/health" and (seconds := self._rate.wait(address)):
            limit = self.settings.per_minute
            raise Problem(
                429, f"More than {limit} requests a minute are too many: wait {seconds} s.", seconds
            )
        if self._token is None:
            _require_own_page(headers)
        elif scope["path"] not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(
                _digest(given.strip().encode("latin-1")), self._token
            ):
                raise Problem(401, "A token is needed: send the header `Authorization: Bearer TOKEN`.")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.settings.max_bytes:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(
            413, f"The request has more than {self.settings.max_bytes / 1e6:g} MB: send a smaller picture."
        )

    def _too_slow(self, request: _Request) -> Problem:
        if request.complete:
            return Problem(503, "The server did not get it done in time: try again later.", retry_after=5)
        return Problem(408, f"The request did not arrive within {self.settings.timeout:g} s: send it again.")


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _require_own_page(headers: dict[str, str]) -> None:
    """Refuse what a page of another site lets a browser on this machine ask, where no token protects the server.

    Raises:
        Problem: The name that was asked for is not this machine's, or the page is another one's.
    """
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if not is_loopback(name.strip("[]")):
        raise Problem(
            403, "Without a token this server is asked as localhost alone: use that name, or set a token."
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Problem(403, "Pages of other sites may not use this server.")


def _route(path: str) -> str:
    if path.startswith(THUMBNAILS):
        return "/thumbnails/{id}"
    return path if path in ROUTES else "other"


async def _drain(receive: Receive, seconds: float) -> None:
    """Read what still comes and drop it: a client that is cut off while it sends may never read the answer."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _answer(problem: Problem, send: Send) -> None:
    body = json.dumps({"error": problem.detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers |= dict(problem.headers or {})
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status_code, "headers": fields})
    await send({"type": "http.response.body", "body": body})
