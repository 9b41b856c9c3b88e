"""Who comes in, and who has to leave: what is inside never is more than there are places for."""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest
import trustme

from saec.errors import ConfigurationError
from saec.http import door
from saec.http.door import SPARE, Door, Place, origin_of
from saec.http.problems import Problem
from tests.http.kit import run

MOST = 8
ALL = MOST + SPARE


class Guest(asyncio.Protocol):
    """A connection that does nothing by itself."""

    def __init__(self, place: Place, inside: list["Guest"]) -> None:
        self.place = place
        self._inside = inside

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.place.guest = self
        self._inside.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._inside.remove(self)
        self.place.leave()

    def turn_out(self) -> None:
        self.transport.abort()


class Ground:
    """A door, who is behind it, and the callers' ends of their wires."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.inside: list[Guest] = []
        self.wires: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.door = Door(self._listening, lambda place: Guest(place, self.inside), MOST, tls)

    async def come(self, number: int = 1, origin: str = "a") -> list[Guest]:
        """So many come from there."""
        before = list(self.inside)
        for _ in range(number):
            mine = socket.create_connection(self._listening.getsockname())
            mine.setblocking(False)
            self.wires.append(mine)
            wire, _ = self._listening.accept()
            self.door.let_in(wire, origin)
            await _turns()
        return [guest for guest in self.inside if guest not in before]

    def close(self) -> None:
        """Hang up."""
        self._listening.close()
        for wire in self.wires:
            wire.close()


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def at_the_door(
    work: Callable[[Ground], Coroutine[Any, Any, None]], tls: ssl.SSLContext | None = None
) -> None:
    """Run it."""

    async def inside() -> None:
        with closing(Ground(tls)) as ground:
            await work(ground)
            assert ground.door.inside <= ALL
            for guest in list(ground.inside):
                guest.transport.abort()
            await _turns()
            assert ground.door.inside == 0 or tls is not None

    run(inside)


def test_strangers_push_out_strangers_the_longest_inside_first() -> None:
    async def work(ground: Ground) -> None:
        first = (await ground.come(ALL // 2, "a")) + (await ground.come(ALL // 2, "b"))
        (later,) = await ground.come(1, "c")
        assert ground.inside == [*first[1:], later]

    at_the_door(work)


def test_who_asks_with_a_key_stays_and_who_rests_leaves_only_when_no_stranger_is_left() -> None:
    async def work(ground: Ground) -> None:
        resting = await ground.come(SPARE)
        for guest in resting:
            guest.place.admit()
            guest.place.rest()
        busy = await ground.come(MOST - 1)
        for guest in busy:
            guest.place.admit()
        await ground.come(3 * ALL, "b")
        assert ground.inside[: ALL - 1] == [*resting, *busy]
        ground.inside[-1].place.admit()
        await ground.come(1, "c")
        assert ground.inside[: ALL - 2] == [*resting[1:], *busy]

    at_the_door(work)


def test_as_many_requests_are_under_way_as_may_be_and_others_still_come_in() -> None:
    async def work(ground: Ground) -> None:
        busy = (await ground.come(MOST // 2, "a")) + (await ground.come(MOST // 2, "b"))
        for guest in busy:
            guest.place.admit()
        for _ in range(3 * ALL):
            (late,) = await ground.come(1, "a")
            assert late in ground.inside
            with pytest.raises(Problem, match="too_busy"):
                late.place.admit()
            assert set(busy) <= set(ground.inside)
        busy[0].place.rest()
        late.place.admit()

    at_the_door(work)


def test_one_address_has_half_of_the_places_for_strangers() -> None:
    async def work(ground: Ground) -> None:
        other = await ground.come(2, "b")
        await ground.come(3 * ALL, "a")
        assert ground.door.inside == ALL // 2 + 2
        assert set(other) <= set(ground.inside)
        (guest,) = await ground.come(1, "a")
        guest.place.admit()
        await ground.come(ALL, "a")
        assert guest in ground.inside

    at_the_door(work)


def test_who_does_not_get_on_with_tls_has_a_place_and_loses_it() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def work(ground: Ground) -> None:
        for number in range(3 * ALL):
            await ground.come(1, f"address {number}")
            assert ground.door.inside == min(number + 1, ALL)
        assert ground.inside == []
        await asyncio.sleep(0.1)
        for wire in ground.wires[: 2 * ALL]:
            with pytest.raises((ConnectionError, AssertionError)):
                assert wire.recv(1)

    at_the_door(work, context)


def test_tls_has_little_time_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HANDSHAKE_S", 0.05)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def work(ground: Ground) -> None:
        await ground.come()
        assert ground.door.inside == 1
        while ground.door.inside:
            await asyncio.sleep(0.01)

    at_the_door(work, context)


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 1, 0, 0), "20010db800010002"),
        (("2001:db8:1:2:ffff::", 1, 0, 0), "20010db800010002"),
        (("fe80::1%eth0", 1, 0, 2), "fe80000000000000"),
    ],
)
def test_an_origin_is_what_one_host_may_have(peer: Any, origin: str) -> None:
    assert origin_of(peer) == origin


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "fits"),
    [(128, 2_000, 1_000, True), (2_000, 2_000, 1_000, True), (128, 1_100, 1_000, False)],
)
def test_the_files_that_it_needs_are_allowed_or_it_says_so(
    soft: int, hard: int, connections: int, *, fits: bool
) -> None:
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from saec.http.door import make_room_for_files
make_room_for_files({connections})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if fits:
        assert ran.stdout.strip() == str(hard)
    else:
        assert ConfigurationError.__name__ in ran.stderr
        assert "SAEC_HTTP_CONNECTIONS is 1000, but this process may have 1100 files" in ran.stderr
