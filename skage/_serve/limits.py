"""What the server refuses: other hosts, large and slow uploads, and more work than it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DRAIN_SECONDS = 2.0  # for which the rest of a refused upload is read and thrown away


@dataclass(frozen=True)
class Limits:
    """Bounds of the server's memory and time.

    Images in memory take at most `max_images` times `max_bytes`, beside the one decoded.

    Parameters
    ----------
    max_bytes : int
        Size of the largest image accepted.
    max_images : int
        Images that are uploaded, waiting or predicted at once; others are answered with 503.
    upload_seconds : float
        Time for the upload of an image, after which it is answered with 408.
    image_seconds : float
        Time for an image once it is uploaded, after which it is answered with 504.
    retry_seconds : int
        When to try again, if the server is busy.
    """

    max_bytes: int = 25 * 10**6
    max_images: int = 16
    upload_seconds: float = 30.0
    image_seconds: float = 60.0
    retry_seconds: int = 2


class Refused(Exception):
    """A request is not served, and why."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status, headers=self.headers)


class HostCheck:
    """Serve only requests whose Host header is known, and add headers to every response.

    A page elsewhere whose name is made to point at this machine (DNS rebinding) has the
    browser send its own name in Host.

    Parameters
    ----------
    app : ASGI application
    hosts : iterable of str
        Names and addresses, without a port.
    headers : dict of str
        Headers of every response.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], headers: dict[str, str]):
        self.app = app
        self.hosts = {host.lower().strip("[]") for host in hosts}
        self.headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(given) == 1 and host_name(given[0]) in self.hosts:
            await self.app(scope, receive, send_with_headers)
            return
        refusal = Refused(
            400,
            f"This server does not answer to the host {', '.join(given)[:200]!r}. Start it with "
            "--allow-host and the name that is in the address bar.",
        )
        await refusal.response()(scope, receive, send_with_headers)


def host_name(header: str) -> str:
    """Return the name in a Host header, in lower case, without its port.

    Examples
    --------
    >>> from skage._serve.limits import host_name
    >>> [host_name(header) for header in ("LocalHost:8000", "[::1]:8000", "10.0.0.1")]
    ['localhost', '::1', '10.0.0.1']
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def check_type(request: Request) -> None:
    """Refuse a body that is not said to be an image.

    Browsers send no other page's request with such a type without asking the server first,
    which does not agree.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("image/"):
        raise Refused(
            415,
            f"The content type is {kind[:100]!r}. Send the bytes of an image with a content type "
            "such as image/jpeg.",
        )


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the body, but no more than the limits allow."""
    try:
        size = int(request.headers.get("content-length", 0))
    except ValueError:
        size = 0
    if size > limits.max_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.max_bytes:
                    raise _too_large(limits)
                body += chunk
    except TimeoutError:
        raise Refused(
            408,
            f"The upload took longer than {limits.upload_seconds:g} seconds. Try a smaller image.",
            {"connection": "close"},
        ) from None
    if not body:
        raise Refused(422, "The image is empty (0 bytes).")
    return bytes(body)


async def drain(receive: Receive) -> None:
    """Throw away the rest of a refused upload, so that the client can read why.

    A client that is still sending when its connection is closed sees only that.
    """
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass


def _too_large(limits: Limits) -> Refused:
    return Refused(
        413,
        f"The image has more than {limits.max_bytes / 10**6:g} MB. Send a smaller one.",
        {"connection": "close"},
    )


class Queue:
    """One thread that works, and a bounded number of images that it works on.

    An image counts from before its upload until its work has ended, even if its client no longer
    waits: a thread cannot be stopped.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._n_images = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="skage")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, request: Request, work: Callable[[bytes], T]) -> T:
        """Read the body of a request, and return what the work makes of it."""
        if self._n_images >= self._limits.max_images:
            raise Refused(
                503,
                "Too many images are waiting. Try again in a few seconds.",
                {"retry-after": str(self._limits.retry_seconds)},
            )
        self._n_images += 1
        future: Future[Any] | None = None
        try:
            body = await read_body(request, self._limits)
            future = self._pool.submit(work, body)
            loop = asyncio.get_running_loop()
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        finally:
            if future is None:
                self._leave()
        try:
            async with asyncio.timeout(self._limits.image_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Refused(
                504,
                f"The image took longer than {self._limits.image_seconds:g} seconds, with those "
                "before it. Try again later, or a smaller image.",
            ) from None

    def _leave(self) -> None:
        self._n_images -= 1
