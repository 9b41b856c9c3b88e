"""A TCP proxy on 127.0.0.1 that can cut, refuse, delay, and hold back either direction.

Owns its port, which stays the same, so that a part may come back somewhere else behind it. Kafka's
clients go where the broker says it is: with `advertised`, its answers name the proxy instead.
Invariant: what is held back comes out in order after `mend`, or is lost with its connection.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536
_LENGTH = struct.Struct(">i")


class Direction(Enum):
    """Where bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class Proxy:
    """Forwards connections to what `reach` connects to."""

    def __init__(self, reach: Callable[[], socket.socket], advertised: int | None = None) -> None:
        self._reach = reach
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._advertised = None if advertised is None else (_place(advertised), _place(self.port))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._flowing = {direction: threading.Event() for direction in Direction}
        for flowing in self._flowing.values():
            flowing.set()
        self._delay_s = 0.0
        self._refusing = self._closed = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Cut every connection, as a firewall that was restarted; returns how many."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _cut(end)
        return len(pairs)

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self._refusing = True
        self.cut()

    def mend(self) -> None:
        """Take connections again, and let everything through, also what was held back."""
        self._refusing = False
        self._delay_s = 0.0
        for flowing in self._flowing.values():
            flowing.set()

    def freeze(self, *directions: Direction) -> None:
        """Keep every connection and let nothing through any more; by default neither way."""
        for direction in directions or Direction:
            self._flowing[direction].clear()

    def delay(self, seconds: float) -> None:
        """Let everything through this much later, both ways."""
        self._delay_s = seconds

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        _cut(self._listener)
        self.mend()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = self._reach()
            except OSError:
                _cut(client)
                continue
            with self._lock:
                self._pairs.append((client, server))
            self.connections += 1
            for source, target, direction in (
                (client, server, Direction.TO_SERVER),
                (server, client, Direction.TO_CLIENT),
            ):
                forward = threading.Thread(
                    target=self._forward, args=(source, target, direction), daemon=True
                )
                forward.start()

    def _forward(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        rewrite = self._advertised if direction is Direction.TO_CLIENT else None
        held, never = b"", threading.Event()
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                if rewrite is not None:
                    chunk, held = _whole_frames(held + chunk)
                    chunk = chunk.replace(*rewrite)
                if self._delay_s:
                    never.wait(self._delay_s)
                self._flowing[direction].wait()
                target.sendall(chunk)
        _cut(source)
        _cut(target)


def _whole_frames(data: bytes) -> tuple[bytes, bytes]:
    """What of `data` is whole frames of Kafka's protocol, and the rest."""
    at = 0
    while len(data) - at >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, at)
        if len(data) - at - _LENGTH.size < length:
            break
        at += _LENGTH.size + length
    return data[:at], data[at:]


def _place(port: int) -> bytes:
    """How Kafka's protocol writes where a broker is."""
    return HOST.encode() + _LENGTH.pack(port)


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()
