"""Says to the endpoint what no HTTP client would: bytes on a socket.

Invariant: whatever is said, what comes back is looked at here: no answer is a 500, and every error
is a problem as the contract has it.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from saec.errors import Reason
from saec.http.problems import MEDIA_TYPE, Code

HOST = "127.0.0.1"
HANGS_S = 60.0
"""By when whatever does not hang has been said."""
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_CODES = {*Code, *Reason}
_PIECE = 65_536


@dataclass(frozen=True)
class Heard:
    """What came back on one connection, and whether it was closed then."""

    raw: bytes
    is_closed: bool
    after_s: float

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [int(found[1]) for found in _ANSWER.finditer(self.raw)]

    @property
    def codes(self) -> list[str]:
        """The code of each problem."""
        return [found.decode() for found in re.findall(rb'"code": "(\w+)"', self.raw)]

    @property
    def headers(self) -> str:
        """Those of all answers, in lower case."""
        return b"".join(found[2] for found in _ANSWER.finditer(self.raw)).decode().lower()


def say(
    port: int, *parts: bytes, pause_s: float = 0.0, wait_s: float = HANGS_S, small: bool = False
) -> Heard:
    """Send the parts, a pause between them; hear until it is closed, or for `wait_s` seconds.

    `small`: with as little room for what comes as there can be.
    """
    began_s, never, heard = time.monotonic(), threading.Event(), bytearray()
    with socket.socket() as wire:
        if small:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        wire.settimeout(wait_s)
        wire.connect((HOST, port))
        try:
            for part in parts:
                wire.sendall(part)
                never.wait(pause_s)
        except OSError:
            pass  # refused meanwhile; what was said of it can still be read
        is_closed = _hear(wire, heard)
    return _checked(Heard(bytes(heard), is_closed, time.monotonic() - began_s))


def pour(port: int, head: bytes, again: bytes, for_s: float) -> Heard:
    """Send a head, and then the same again and again, till it is closed or for `for_s` seconds."""
    began_s, heard = time.monotonic(), bytearray()
    with socket.create_connection((HOST, port), timeout=for_s) as wire:
        try:
            wire.sendall(head)
            while time.monotonic() - began_s < for_s:
                wire.sendall(again)
        except OSError:
            pass
        wire.settimeout(0.5)
        is_closed = _hear(wire, heard)
    return _checked(Heard(bytes(heard), is_closed, time.monotonic() - began_s))


def drip(port: int, head: bytes, drop: bytes, each_s: float, wait_s: float) -> Heard:
    """Send a head, and then a drop now and then, till it is closed or for `wait_s` seconds."""
    began_s, heard = time.monotonic(), bytearray()
    is_closed = False
    with socket.create_connection((HOST, port), timeout=each_s) as wire:
        wire.sendall(head)
        while not is_closed and time.monotonic() - began_s < wait_s:
            is_closed = _hear(wire, heard)
            try:
                wire.sendall(drop)
            except OSError:
                is_closed = True
    return _checked(Heard(bytes(heard), is_closed, time.monotonic() - began_s))


def post(
    key: str,
    body: bytes,
    *headers: str,
    target: str = "/v1/requests",
    content_type: str = "application/json",
) -> bytes:
    """A POST, whole."""
    length = f"Content-Length: {len(body)}"
    return head("POST", target, f"Content-Type: {content_type}", length, *headers, key=key) + body


def head(method: str, target: str, *headers: str, key: str = "") -> bytes:
    """The head of a request."""
    bearer = [f"Authorization: Bearer {key}"] if key else []
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *bearer, *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunked(pieces: Iterable[bytes]) -> bytes:
    """The chunks of a body, without the last one."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def memory_mb(pid: int) -> float:
    """What a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _hear(wire: socket.socket, heard: bytearray) -> bool:
    """Take what comes; whether the connection is closed."""
    try:
        while piece := wire.recv(_PIECE):
            heard += piece
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def _checked(heard: Heard) -> Heard:
    for answer in _ANSWER.finditer(heard.raw):
        status, told = int(answer[1]), answer[2].decode().lower()
        assert status != 500, heard
        assert "access-control" not in told, heard
        if status >= 400:
            assert f"content-type: {MEDIA_TYPE}" in told, heard
            size = int(re.findall(r"content-length: (\d+)", told)[0])
            body = heard.raw[answer.end() : answer.end() + size]
            if len(body) == size:
                assert json.loads(body)["code"] in _CODES, heard
            else:  # none to a HEAD; and who sends on after it may lose the end to the closing
                assert not body or heard.is_closed, heard
    return heard
