"""The application: the page, its JSON endpoint, and how images get there."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .._images.reading import ImageError
from .limits import LOOPBACK, HostCheck, Limits, Queue, Refused, check_type, drain
from .schema import openapi

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(
    estimate: Callable[[bytes], dict[str, Any]],
    *,
    coverage: float = 0.9,
    limit: float | None = None,
    hosts: Iterable[str] = (),
    limits: Limits | None = None,
) -> ASGIApp:
    """Make the application.

    Parameters
    ----------
    estimate : callable
        Takes the bytes of an image and returns an answer, as `Estimator` does. It is called in
        one thread, one image after the other.
    coverage, limit : float
        As those of `Estimator`, for the page.
    hosts : iterable of str
        Names of this machine that requests may have in their Host header, beside those of the
        loopback.
    limits : Limits, default=None
        Bounds of memory and time.

    Returns
    -------
    app : ASGI application
    """
    limits = limits or Limits()
    queue = Queue(limits)
    html, policy = page()
    health = {"status": "ok", "coverage": coverage, "limit": limit, "max_bytes": limits.max_bytes}

    async def show_page(request: Request) -> Response:
        return HTMLResponse(html)

    async def show_health(request: Request) -> Response:
        return JSONResponse(health)

    async def show_openapi(request: Request) -> Response:
        return JSONResponse(openapi())

    async def predict(request: Request) -> Response:
        try:
            check_type(request)
            return JSONResponse(await queue.run(request, estimate))
        except ImageError as error:
            return Refused(422, error.message.replace(" (item 0)", "")).response()
        except ClientDisconnect:
            return Response(status_code=400)
        except Refused as refusal:
            if refusal.status in (413, 415, 503):
                await drain(request.receive)
            return refusal.response()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        queue.close()

    app = Starlette(
        routes=[
            Route("/", show_page),
            Route("/health", show_health),
            Route("/openapi.json", show_openapi),
            Route("/predict", predict, methods=["POST"]),
        ],
        exception_handlers={404: _plain, 405: _plain, 500: _plain},
        lifespan=lifespan,
    )
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    return HostCheck(app, [*LOOPBACK, *hosts], headers)


def page() -> tuple[str, str]:
    """Return the page, and the content security policy that allows its own parts only."""
    html = files(__package__).joinpath("page", "index.html").read_text(encoding="utf-8")
    parts = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", html, flags=re.DOTALL)
        )
        for kind in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src {parts['script']}; style-src {parts['style']}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return html, policy


async def _plain(request: Request, error: Exception) -> Response:
    """An error as JSON, like all others."""
    messages = {404: "There is nothing at this address.", 405: "This method is not allowed here."}
    status = getattr(error, "status_code", 500)
    message = messages.get(status, "The server failed. Its terminal says why.")
    return JSONResponse({"error": message}, status, headers=getattr(error, "headers", None))
