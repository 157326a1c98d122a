"""Around every request: limits on its body, headers that protect the page, and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sklearn_lntune.serving.errors import RequestError
from sklearn_lntune.serving.limits import Limits

#: Called with the method, the route, the status and the seconds of a request.
Observe: TypeAlias = Callable[[str, str, int, float], None]

#: The page uses its own files only, and no other page can embed it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Measured:
    """Headers and metrics of all answers.

    Parameters
    ----------
    app : ASGI application
    observe : callable
        Called with the method, the route, the status and the seconds of each request.
    """

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # unless there is an answer
        begin = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            # A route's pattern, not the path: clients can send any number of paths.
            route = getattr(scope.get("route"), "path", "other")
            self._observe(scope["method"], route, status, time.monotonic() - begin)


class BodyLimited:
    """A limit on the bytes of bodies, and on the time in which they arrive.

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._limits
        most = limits.max_upload if scope["method"] == "PUT" else limits.max_body
        deadline = asyncio.get_running_loop().time() + limits.body_seconds
        size, complete = 0, False

        async def receive_within_limits() -> Message:
            nonlocal size, complete
            if complete:  # from here on, the only message is that the client has left
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise RequestError(408, "The body did not arrive in time.") from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > most:
                raise RequestError(413, f"The body has more than {most} bytes.")
            return message

        await self._app(scope, receive_within_limits, send)
