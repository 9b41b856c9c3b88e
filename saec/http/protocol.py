"""One connection: uvicorn's own protocol, less its patience.

uvicorn waits for ever for the rest of a head, takes heads of any size, and reads on a body that was
answered already. Invariant: who sends nothing, or too slowly, or without end, and who does not read
what is sent, has the connection closed within a bound; and no more are open than may be.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saec.http.problems import Code, Problem, too_busy

HEAD_S = 10.0
"""From the connection, or the first byte of a head, to its end."""
MOST_HEAD_BYTES = 32_768
UNREAD_S = 30.0
"""For the caller to read what is sent."""


class Connection(HttpToolsProtocol):
    """A connection with bounds. `limit_concurrency` of uvicorn's settings says how many may be."""

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Somebody came."""
        super().connection_made(transport)
        most, self.limit_concurrency = self.limit_concurrency, None
        if most is not None and len(self.connections) > most:
            self._refuse(too_busy("as many connections as may are open"))
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._stop_waiting()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """They sent something."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            detail = f"more than {MOST_HEAD_BYTES} bytes before the end of the headers"
            self._refuse(Problem(431, Code.HEAD_TOO_LARGE, detail))
        elif self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        # Of the last one that was sent: those before it came whole.
        if not self.pipeline and self.cycle.more_body:
            self.transport.close()  # nobody reads what still comes of it
        super().on_response_complete()

    def pause_writing(self) -> None:
        """They do not read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """They read on."""
        self._is_read()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What they sent is no HTTP. (uvicorn calls this; its words are not ours.)"""
        del msg
        self._refuse(Problem(400, Code.INVALID_HTTP, "the request cannot be read as HTTP/1.1"))

    def _expect_head(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, and close."""
        response = problem.response
        head = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()]
        head += [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", problem.body]))
        self.transport.close()
