"""The door: who comes in, and who has to leave when it is full.

Owns the listening socket and the list of who is inside, from the moment the kernel hands a
connection over, long before TLS or a key. Invariant: no more are inside than there are places; of
those who have shown a key, nobody leaves while a request of theirs is under way; and there are
always places that these do not take, so that whoever comes can ask how the endpoint is. So who has
no key can push out only others without one, the longest inside first.
"""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from saec.errors import ConfigurationError
from saec.http.problems import too_busy

HANDSHAKE_S = 5.0
"""For TLS, from the connection to the first byte of a head."""
SPARE = 8
"""Places beyond `SAEC_HTTP_CONNECTIONS`, which no request of a key takes."""
_OTHER_FILES = 128  # Kafka's brokers, PostgreSQL, the logs …
_AT_ONCE = 16
_PAUSE_S = 1.0
_TELL_S = 30.0

_log = structlog.get_logger("saec.http")


class Guest(Protocol):
    """A connection, as the door sees it."""

    def turn_out(self) -> None:
        """Close it now."""
        ...


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place inside."""

    door: "Door" = field(repr=False)
    wire: socket.socket = field(repr=False)
    origin: str
    guest: Guest | None = None

    def admit(self) -> None:
        """A request with a valid key begins.

        Raises:
            Problem: 503; as many as may be are under way.
        """
        self.door.admit(self)

    def rest(self) -> None:
        """No request is under way."""
        self.door.rest(self)

    def leave(self) -> None:
        """The connection is closed."""
        self.door.leave(self)

    def turn_out(self) -> None:
        """Close the connection, whatever it does; TLS may not even have begun."""
        if self.guest is not None:
            self.guest.turn_out()
            return
        with suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)


class Door:
    """Lets in. `close` and `wait_closed` are what uvicorn asks of a server."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[Place], asyncio.Protocol],
        most: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._make = make
        self._most = most
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        # Each in the order in which they came there; of strangers by where they come from, too.
        self._strangers: dict[Place, None] = {}
        self._by_origin: dict[str, dict[Place, None]] = {}
        self._resting: dict[Place, None] = {}
        self._busy: dict[Place, None] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._turned_out, self._told_s = 0, -_TELL_S

    @property
    def inside(self) -> int:
        """How many are inside."""
        return len(self._strangers) + len(self._resting) + len(self._busy)

    def open(self) -> None:
        """Let in from now on."""
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Those inside are uvicorn's to wait for."""

    def admit(self, place: Place) -> None:
        """See `Place`."""
        if place in self._busy or not self._is_inside(place):
            return
        if len(self._busy) >= self._most:
            raise too_busy("as many requests as may be are under way")
        self._forget(place)
        self._busy[place] = None

    def rest(self, place: Place) -> None:
        """See `Place`."""
        if place in self._busy:
            del self._busy[place]
            self._resting[place] = None

    def leave(self, place: Place) -> None:
        """See `Place`."""
        self._forget(place)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                wire, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory: it would come back at once
                _log.warning("connections cannot be taken", why=error.strerror)
                self.close()
                self._loop.call_later(_PAUSE_S, self.open)
                return
            self.let_in(wire, origin_of(peer))

    def let_in(self, wire: socket.socket, origin: str) -> None:
        """A place for who came, and who makes room for them."""
        place = Place(self, wire, origin)
        from_there = self._by_origin.setdefault(origin, {})
        if len(from_there) >= max(1, (self._most + SPARE) // 2):
            self._turn_out(next(iter(from_there)))
        elif self.inside >= self._most + SPARE:
            # Of `_busy` there are `_most` at most, so there is somebody.
            self._turn_out(next(iter(self._strangers or self._resting)))
        self._strangers[place] = None
        self._by_origin.setdefault(origin, {})[place] = None
        task = self._loop.create_task(self._open(place))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, place: Place) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(place),
                place.wire,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S,
            )
        except OSError:  # TLS that was none, or took too long
            self._forget(place)
        except BaseException:
            self._forget(place)
            raise

    def _turn_out(self, place: Place) -> None:
        self._forget(place)
        place.turn_out()
        self._turned_out += 1
        if self._loop.time() - self._told_s >= _TELL_S:
            _log.warning("connections are closed for newcomers", so_far=self._turned_out)
            self._told_s = self._loop.time()

    def _is_inside(self, place: Place) -> bool:
        return place in self._strangers or place in self._resting

    def _forget(self, place: Place) -> None:
        for places in (self._strangers, self._resting, self._busy):
            places.pop(place, None)
        from_there = self._by_origin.get(place.origin)
        if from_there is not None:
            from_there.pop(place, None)
            if not from_there:
                del self._by_origin[place.origin]


def origin_of(peer: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """Where a connection comes from: an address, of IPv6 the network that one host may have."""
    host = peer[0].partition("%")[0]
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host)
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return packed[:8].hex()


def make_room_for_files(connections: int) -> None:
    """Let this process open a file for each connection, and what else it needs.

    Raises:
        ConfigurationError: the system does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    most = soft - SPARE - _OTHER_FILES
    if soft != resource.RLIM_INFINITY and connections > most:
        raise ConfigurationError(
            f"SAEC_HTTP_CONNECTIONS is {connections}, but this process may have {soft} files open: "
            f"set it to {max(most, 0)} at most, or raise the limit (ulimit -n, LimitNOFILE)"
        )
