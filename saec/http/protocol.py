"""One connection: uvicorn's own protocol, less its patience.

uvicorn waits for ever for the rest of a head, takes heads and trailers of any size, queues any
number of requests that are sent ahead, loses the body of a request that offers an upgrade, and
reads on a body that was answered already. Invariant: who sends nothing, or too slowly, or without
end, and who does not read what is sent, has the connection closed within a bound; and no answer is
written but to the request whose turn it is. How many there may be is the door's to say.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Self

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from saec.http.door import Place
from saec.http.keyring import ADMIT
from saec.http.problems import Code, Problem, too_busy

HEAD_S = 10.0
"""From the connection, or the first byte of a head, to its end."""
MOST_HEAD_BYTES = 32_768
"""What may come of a head, or of anything else that is no content, before there is more of it."""
MOST_AHEAD = 64
"""Requests that may be sent ahead, while another is under way."""
UNREAD_S = 30.0
"""For the caller to read what is sent."""

_OFFER = {b"upgrade", b"http2-settings"}


class _TooManyError(Exception):
    """More requests at once than are kept."""


class Connection(HttpToolsProtocol):
    """A connection with bounds."""

    _place: Place
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    _in_head = False
    _got_on = False
    _head_bytes = 0

    def take(self, place: Place) -> Self:
        """Have this place, until the connection is lost."""
        self._place = place
        return self

    def turn_out(self) -> None:
        """Others need the place: say so if that takes no time, and close."""
        if self.scheme == "http" and not self.transport.get_write_buffer_size():
            self._refuse(too_busy("as many connections as may be are open"))
        if self.scheme != "http" or self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Somebody came."""
        super().connection_made(transport)
        self._place.guest = self
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._place.leave()
        self._stop_waiting()
        self._is_read()
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """They sent something."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._got_on = False
        self._feed(data)
        self._head_bytes = 0 if self._got_on else self._head_bytes + len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            detail = f"more than {MOST_HEAD_BYTES} bytes of headers, or of what else is no content"
            self._refuse(Problem(431, Code.HEAD_TOO_LARGE, detail))
        elif self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()
        self.scope |= {ADMIT: self._place.admit}  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._in_head, self._got_on = False, True
        if self.parser.should_upgrade():
            return  # `_feed` comes again with another head
        if len(self.pipeline) >= MOST_AHEAD:
            raise _TooManyError
        self._stop_waiting()
        super().on_headers_complete()
        self.headers = []  # for trailers, which nobody here reads

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._got_on = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        self._place.rest()
        # Of the last one that was sent: those before it came whole.
        if not self.pipeline and self.cycle.more_body:
            self.transport.close()  # nobody reads what still comes of it
        if self.transport.is_closing():
            self._close()
        elif self._in_head and not self.pipeline:
            self._expect_head()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """They asked nothing more."""
        self._close()

    def pause_writing(self) -> None:
        """They do not read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """They read on."""
        if not self.transport.is_closing():
            self._is_read()
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(_no_http())
                return
            # The parser takes what follows for another protocol: the body would be lost, or be
            # read as a request. So it gets the same head without the offer.
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(_no_http())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = [token for token in tokens if token.lower() not in _OFFER]
                lines.append(name + b":" + b",".join(kept))
            elif name not in _OFFER:
                lines.append(name + b":" + value)
        return b"\r\n".join([*lines, b"", b""])

    def _expect_head(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(HEAD_S, self._close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _close(self) -> None:
        """Close, as soon as what was sent is read; it has a bound too."""
        self._expect_reading()
        self.transport.close()

    def _forget(self) -> None:
        """Nobody is to have an answer any more."""
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, if it is this request's turn, and close."""
        if self._is_unanswered():
            response = problem.response
            head = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()]
            head += [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
            self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", problem.body]))
        self._forget()
        self._close()

    def _is_unanswered(self) -> bool:
        """Whether an answer written now would be to what they send now."""
        running = self._running
        if running is None or running.response_complete:
            return True
        return running is self.cycle and running.more_body and not running.response_started


def _no_http() -> Problem:
    return Problem(400, Code.INVALID_HTTP, "the request cannot be read as HTTP/1.1")
