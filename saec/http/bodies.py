"""Reads what a stranger sends, whole or line by line.

Invariant: no body takes more memory than its limit and one chunk, and none takes longer than its
time, however slowly or endlessly it comes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.http.problems import Code, Problem, of_rejected, too_many_lines

JSON = "application/json"
JSON_LINES = ("application/jsonl", "application/x-ndjson")
WHOLE_S = 20.0
"""For a body of one request."""
PAUSE_S = 10.0
"""Between two chunks of a stream."""
STREAM_S = 900.0
"""For a stream in all."""
LOOK_S = 0.5
"""How often is looked, while nothing comes, whether more of a stream is wanted."""
_MOST_EMPTY = 10_000


def media_type(request: Request) -> str:
    """What the body is said to be.

    Raises:
        Problem: not JSON. (A browser asks before it sends JSON elsewhere, so no page can.)
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in {JSON, *JSON_LINES}:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"send `Content-Type: {JSON}` for one request, `{JSON_LINES[0]}` for a line each",
        )
    return given


async def read_whole(request: Request, most_bytes: int) -> bytes:
    """The body.

    Raises:
        Problem: it is larger than `most_bytes`, or takes longer than 20 s.
        ClientDisconnect: the caller is gone.
    """
    _check_declared(request, most_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(WHOLE_S):
            more = True
            while more:
                chunk, more = await _chunk(request)
                body += chunk
                _check_size(body, most_bytes)
    except TimeoutError:
        raise _too_slow() from None
    return bytes(body)


def _wanted() -> None:
    """All of it."""


async def read_lines(
    request: Request, most_bytes: int, check: Callable[[], None] = _wanted
) -> AsyncIterator[tuple[int, bytes]]:
    """The lines of the body that are not empty, each with its number (the first is 1), at once.

    While the next chunk is waited for, `check` is called now and then; what it raises ends it.

    Raises:
        Problem: a line is larger than `most_bytes`, or too many are empty, or the next chunk takes
            longer than 10 s, or the whole longer than 15 minutes.
        ClientDisconnect: the caller is gone.
    """
    line, number, empty = bytearray(), 1, 0
    deadline_s = asyncio.get_running_loop().time() + STREAM_S
    more = True
    while more:
        chunk, more = await _chunk_before(request, deadline_s, check)
        *ends, beginning = chunk.split(b"\n")
        for end in ends:
            line += end
            _check_size(line, most_bytes)
            if line.strip():
                yield number, bytes(line)
            else:
                empty = _one_more(empty)
            line.clear()
            number += 1
        line += beginning
        _check_size(line, most_bytes)
    if line.strip():
        yield number, bytes(line)


def _one_more(empty: int) -> int:
    if empty >= _MOST_EMPTY:
        raise too_many_lines(_MOST_EMPTY)
    return empty + 1


async def _chunk_before(
    request: Request, deadline_s: float, check: Callable[[], None]
) -> tuple[bytes, bool]:
    loop = asyncio.get_running_loop()
    until_s = min(loop.time() + PAUSE_S, deadline_s)
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + LOOK_S, until_s)):
                return await _chunk(request)
        except TimeoutError:
            check()
            if loop.time() >= until_s:
                raise _too_slow() from None


async def _chunk(request: Request) -> tuple[bytes, bool]:
    """What came meanwhile, and whether there is more."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), bool(message.get("more_body", False))


def _check_declared(request: Request, most_bytes: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)


def _check_size(read: bytearray, most_bytes: int) -> None:
    if len(read) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> Problem:
    return of_rejected(RejectedError(Reason.VALUE_TOO_LARGE, f"more than {most_bytes} bytes"))


def _too_slow() -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, Code.TOO_SLOW, "the body did not come in time")
