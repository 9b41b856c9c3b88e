"""No error reaches the server, and who is refused while still sending can read why."""

import asyncio
import itertools
import time
from collections.abc import Iterable

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from saec.http import boundary
from saec.http.boundary import Boundary
from tests.http.kit import NEVER_S, Body, run

LENGTH = [(b"content-length", b"1000")]


def answering(status: int, *, reads: int = 0) -> ASGIApp:
    """An application that reads so many pieces, and answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(reads):
            await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"why"})

    return app


def answered(
    app: ASGIApp, body: Body, headers: Iterable[tuple[bytes, bytes]] = LENGTH
) -> list[Message]:
    """What is sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def work() -> None:
        scope = {"type": "http", "headers": list(headers)}
        await Boundary(app)(scope, body.receive, send)

    run(work)
    return sent


@pytest.mark.parametrize("status", [200, 400, 503])
def test_the_answer_is_sent_as_it_is(status: int) -> None:
    start, end = answered(answering(status), Body([b"x"] * 3))
    assert (start["status"], end["body"]) == (status, b"why")


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_what_a_refused_caller_still_sends_is_read_first(reads: int) -> None:
    body = Body([b"x"] * 10)
    assert len(answered(answering(413, reads=reads), body)) == 2
    assert body.taken == 10


def test_what_is_accepted_is_not_read_for() -> None:
    body = Body([b"x"] * 10)
    answered(answering(202, reads=1), body)
    assert body.taken == 1


def test_a_body_that_ended_is_not_waited_for() -> None:
    body = Body([b"x"])

    async def fails(*_: object) -> None:
        raise AssertionError("read again")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        body.receive = fails  # type: ignore[method-assign, assignment]
        await answering(400)(scope, receive, send)

    assert len(answered(app, body)) == 2


@pytest.mark.parametrize("headers", [[], [*LENGTH, (b"expect", b"100-continue")]])
def test_nothing_is_read_of_who_sends_nothing_yet(headers: list[tuple[bytes, bytes]]) -> None:
    """One has no body; the other waits to be told to send it."""
    body = Body([b"x"] * 10)
    answered(answering(401), body, headers)
    assert body.taken == 0


def test_who_was_told_to_send_is_read() -> None:
    body = Body([b"x"] * 10)
    answered(answering(413, reads=1), body, [*LENGTH, (b"expect", b"100-continue")])
    assert body.taken == 10


def test_reading_on_has_an_end_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_LINGER_BYTES", 1_000)
    body = Body(itertools.repeat(b"x" * 100))
    assert len(answered(answering(413), body)) == 2
    assert body.taken == 10


def test_reading_on_has_an_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_LINGER_S", 0.1)
    for slow in (Body([], NEVER_S), Body(itertools.repeat(b"x"), 0.01)):
        began_s = time.monotonic()
        assert len(answered(answering(413), slow)) == 2
        assert time.monotonic() - began_s > 0.05


def test_a_caller_who_goes_meanwhile_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_LINGER_S", NEVER_S)
    assert len(answered(answering(413), Body([b"x"], ends=False))) == 2


def test_an_error_is_logged_without_a_word_of_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("ana@example.com")

    with capture_logs() as logs:
        assert answered(app, Body([])) == []
    (line,) = logs
    assert (line["event"], line["log_level"], line["kind"]) == (
        "request failed",
        "error",
        "ValueError",
    )
    assert "test_boundary.py" in line["at"]
    assert "ana@example.com" not in str(line)


def test_a_stop_is_not_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        answered(app, Body([]))
    assert logs == []
