"""What stands around the application: the last place for an error, and a polite end.

Invariant: no error reaches the server, whose own log would quote it; and who is refused while still
sending can read why.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saec.outage import described

# How long, and how much, is read on and thrown away of a body that is refused: closing at once
# would reset the connection, and the caller would see that instead of the answer.
_LINGER_S = 1.0
_LINGER_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger("saec.http")


class Boundary:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = _Body(scope, receive)

        async def sending(message: Message) -> None:
            if message.get("status", 0) >= HTTPStatus.BAD_REQUEST:
                await body.linger()
            await send(message)

        try:
            await self._app(scope, body.receive, sending)
        except Exception as error:
            _log.error("request failed", **described(error))


class _Body:
    """What is still to come of a request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._begun = False
        self._ended = False

    async def receive(self) -> Message:
        """What came meanwhile."""
        self._begun = True
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Read on for a moment, if there is something to read."""
        headers = dict(self._scope["headers"])
        is_waited_for = not self._begun and b"expect" in headers  # else nothing comes before
        if (
            self._ended
            or is_waited_for
            or not headers.keys()
            & {
                b"content-length",
                b"transfer-encoding",
            }
        ):
            return
        left = _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and not self._ended:
                    left -= len((await self.receive()).get("body", b""))
