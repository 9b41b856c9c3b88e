"""Whatever a stranger sends is read within its limit and its time, whole or line by line."""

import asyncio
import itertools
import time
from collections.abc import Iterable
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from saec.errors import Reason
from saec.http import bodies
from saec.http.bodies import media_type, read_lines, read_whole
from saec.http.problems import Code, Problem
from tests.http.kit import NEVER_S, Body, asked, refused, run

MOST = 100
SOON_S = 0.1


def pieces_of(body: bytes, sizes: Iterable[int]) -> list[bytes]:
    """The body, cut into pieces of these sizes, over and over."""
    made, at, again = [], 0, itertools.cycle(sizes)
    while at < len(body):
        size = next(again)
        made.append(body[at : at + size])
        at += size
    return made


async def lines_of(body: Body | Iterable[bytes], most_bytes: int = MOST) -> list[bytes]:
    return [line async for _, line in read_lines(asked(body), most_bytes)]


@settings(deadline=None)
@given(st.binary(max_size=MOST), st.lists(st.integers(1, 40), min_size=1))
def test_a_body_is_whole_however_it_is_cut(body: bytes, sizes: list[int]) -> None:
    assert run(lambda: read_whole(asked(pieces_of(body, sizes)), MOST)) == body


@pytest.mark.parametrize("size", [1, 7, MOST, 1_000])
def test_one_byte_more_than_the_limit_is_too_large(size: int) -> None:
    problem = run(lambda: refused(read_whole(asked(pieces_of(b"x" * (MOST + 1), [size])), MOST)))
    assert (problem.status, problem.code) == (413, Reason.VALUE_TOO_LARGE)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    body = Body([b"x"])
    headers = {"content-length": str(MOST + 1)}
    problem = run(lambda: refused(read_whole(asked(body, headers), MOST)))
    assert (problem.status, body.taken) == (413, 0)


@pytest.mark.parametrize("said", ["1", "-1", "", "1e3", "²", "a" * 1_000])
def test_what_a_body_says_of_its_size_is_not_believed(said: str) -> None:
    body = Body(itertools.repeat(b"x" * 10))
    headers = {"content-length": said}
    problem = run(lambda: refused(read_whole(asked(body, headers), MOST)))
    assert (problem.status, body.taken) == (413, MOST // 10 + 1)


@pytest.mark.parametrize("pieces", [[], [b"x"], itertools.repeat(b"x")])
def test_a_body_that_comes_too_slowly(
    pieces: Iterable[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without a first piece; and each of its pieces may be in time, all are not."""
    monkeypatch.setattr(bodies, "WHOLE_S", SOON_S)
    endless = isinstance(pieces, itertools.repeat)
    slow = Body(pieces, SOON_S / 5 if endless else NEVER_S)
    began_s = time.monotonic()
    problem = run(lambda: refused(read_whole(asked(slow), MOST)))
    assert (problem.status, problem.code) == (408, Code.TOO_SLOW)
    assert time.monotonic() - began_s > SOON_S / 2


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"x\n", b"y"]])
def test_a_caller_who_is_gone(pieces: list[bytes]) -> None:
    with pytest.raises(ClientDisconnect):
        run(lambda: read_whole(asked(Body(pieces, ends=False)), MOST))
    with pytest.raises(ClientDisconnect):
        run(lambda: lines_of(Body(pieces, ends=False)))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"", b" \t", b"\r", b"{}", b'{"a":1}\r', b"\xff\x00", b"x" * 9])),
    st.sampled_from([b"", b"\n"]),
    st.lists(st.integers(1, 12), min_size=1),
)
def test_lines_are_the_same_however_they_are_cut(
    lines: list[bytes], end: bytes, sizes: list[int]
) -> None:
    body = b"\n".join(lines) + end
    expected = [line for line in lines if line.strip()]
    assert run(lambda: lines_of(pieces_of(body, sizes))) == expected


def test_a_line_is_there_before_the_next_piece_is_asked_for() -> None:
    body = Body([b'{"a":', b"1}\n{", b"}\n"])

    async def work() -> list[tuple[bytes, int]]:
        return [(line, body.taken) async for _, line in read_lines(asked(body), MOST)]

    assert run(work) == [(b'{"a":1}', 2), (b"{}", 3)]


@pytest.mark.parametrize("size", [1, 3, MOST, MOST + 1, 1_000])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(size: int) -> None:
    fits, rest = b"x" * MOST, b"\ny\n"
    assert run(lambda: lines_of(pieces_of(fits + rest, [size]))) == [fits, b"y"]
    for end in (b"", rest):
        problem = run(lambda end=end: refused(lines_of(pieces_of(fits + b"x" + end, [size]))))
        assert (problem.status, problem.code) == (413, Reason.VALUE_TOO_LARGE)


def test_a_line_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    body = Body(itertools.repeat(b"x" * 10))
    problem = run(lambda: refused(lines_of(body)))
    assert (problem.code, body.taken) == (Reason.VALUE_TOO_LARGE, MOST // 10 + 1)


def test_many_lines_may_be_more_than_the_limit_together() -> None:
    line = b"x" * MOST
    assert run(lambda: lines_of(pieces_of((line + b"\n") * 1_000, [64_000]))) == [line] * 1_000


def test_a_stream_that_pauses_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that came before were there in time."""
    monkeypatch.setattr(bodies, "PAUSE_S", SOON_S)

    class Pausing(Body):
        async def receive(self) -> dict[str, object]:
            if self.taken == 2:
                await asyncio.sleep(NEVER_S)
            return dict(await super().receive())

    async def work() -> Problem:
        lines = read_lines(asked(Pausing([b"a\n", b"b\n", b"c\n"])), MOST)
        assert [await anext(lines), await anext(lines)] == [(1, b"a"), (2, b"b")]
        return await refused(anext(lines))

    problem = run(work)
    assert (problem.status, problem.code) == (408, Code.TOO_SLOW)


def test_a_stream_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its pieces is in time, and all of them together are not."""
    monkeypatch.setattr(bodies, "STREAM_S", SOON_S)
    began_s = time.monotonic()
    problem = run(lambda: refused(lines_of(Body(itertools.repeat(b"x\n"), SOON_S / 5))))
    assert problem.code == Code.TOO_SLOW
    assert time.monotonic() - began_s > SOON_S / 2


def test_what_is_done_with_a_line_does_not_count_as_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "PAUSE_S", SOON_S)

    async def work() -> int:
        seen = 0
        async for _ in read_lines(asked([b"a\n", b"b\n"]), MOST):
            await asyncio.sleep(2 * SOON_S)
            seen += 1
        return seen

    assert run(work) == 2


@pytest.mark.parametrize("lines", [False, True])
def test_a_tiny_piece_costs_the_same_behind_a_large_one(*, lines: bool) -> None:
    """Else whoever sends byte by byte has the whole body copied for each."""
    tiny, large = 20_000, 2_000_000

    def took_s(before: int) -> float:
        pieces = [b"x" * before, *[b"x"] * tiny]
        most = before + tiny
        began_s = time.thread_time()
        if lines:
            assert len(run(lambda: lines_of(pieces, most))[0]) == most
        else:
            assert len(run(lambda: read_whole(asked(pieces), most))) == most
        return time.thread_time() - began_s

    assert took_s(large) < 20 * took_s(0) + 1  # copied, it would be 40 GB


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("application/json", "application/json"),
        ("Application/JSON ; charset=utf-8", "application/json"),
        ("application/jsonl", "application/jsonl"),
        ("application/x-ndjson;x=y", "application/x-ndjson"),
    ],
)
def test_media_types_that_are_read(given: str, read: str) -> None:
    assert media_type(asked(headers={"content-type": given})) == read


@pytest.mark.parametrize(
    "given", [None, "", "text/plain", "application/x-www-form-urlencoded", "json", "a" * 9_000]
)
def test_media_types_that_are_not(given: str | None) -> None:
    """None of those that a page may send elsewhere without being asked for leave."""
    headers = {} if given is None else {"content-type": given}
    with pytest.raises(Problem) as caught:
        media_type(asked(headers=headers))
    assert caught.value.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert caught.value.code == Code.UNSUPPORTED_MEDIA_TYPE
    assert "a" * 100 not in caught.value.detail
