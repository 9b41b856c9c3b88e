"""A request as the handlers see it, without a server: its head, and a body that comes in pieces."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from starlette.requests import Request
from starlette.types import Message

from saec.http.problems import Problem

CLIENT = "192.0.2.7"
HANGS_S = 60
NEVER_S = 600.0
"""What nobody waits for in a test."""
_Result = TypeVar("_Result")


class Body:
    """What is still to come. `taken` counts the pieces that were asked for."""

    def __init__(self, pieces: Iterable[bytes], pause_s: float = 0.0, *, ends: bool = True) -> None:
        self._pieces = iter(pieces)
        self._pause_s = pause_s
        self._ends = ends
        self.taken = 0

    async def receive(self) -> Message:
        """The next piece, after a pause; behind the last the end, or that the caller is gone."""
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        piece = next(self._pieces, None)
        if piece is not None:
            self.taken += 1
            return {"type": "http.request", "body": piece, "more_body": True}
        if self._ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}


def asked(
    body: Body | Iterable[bytes] = (),
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    path: str = "/v1/requests",
) -> Request:
    """A POST from `CLIENT`."""
    named = headers.items() if isinstance(headers, Mapping) else headers
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in named],
        "client": (CLIENT, 4711),
    }
    return Request(scope, (body if isinstance(body, Body) else Body(body)).receive)


def run(work: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run it in an event loop of its own; fails where it hangs."""
    return asyncio.run(asyncio.wait_for(work(), HANGS_S))


@contextmanager
def standing_clock() -> Iterator[Callable[[float], None]]:
    """Within the block the event loop's clock moves only by the seconds that one calls for."""
    loop = asyncio.get_running_loop()
    now_s, past_s = loop.time(), 0.0

    def move(seconds: float) -> None:
        nonlocal past_s
        past_s += seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: now_s + past_s)
        yield move


async def refused(work: Awaitable[object]) -> Problem:
    """The problem that it ends with."""
    with pytest.raises(Problem) as caught:
        await work
    return caught.value
