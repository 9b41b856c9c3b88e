"""Who sends slowly, or nothing, or does not read: an endpoint in this process, less patient."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from socket import SO_RCVBUF, SOL_SOCKET, socket
from uuid import uuid4

import pytest

from saec.http import bodies, protocol
from saec.settings import Settings
from tests.http.inside import serving
from tests.http.wire import HOST, Heard, drip, head

HEAD_S, PAUSE_S, WHOLE_S, STREAM_S, UNREAD_S = 0.5, 0.6, 1.0, 2.0, 1.0
LATE_S = 1.6  # what a refusal may linger, and a slow machine
LONG_S = 8.0
LARGE = "/static-offline-docs/swagger-ui-bundle.js"
JSON = "Content-Type: application/json"
LINES = "Content-Type: application/jsonl"
LENGTH = "Content-Length: 5000"


@pytest.fixture(scope="module")
def port(settings: Settings, key: str) -> Iterator[int]:
    """Where it listens."""
    del key  # made before it starts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "HEAD_S", HEAD_S)
        patch.setattr(protocol, "UNREAD_S", UNREAD_S)
        patch.setattr(bodies, "WHOLE_S", WHOLE_S)
        patch.setattr(bodies, "PAUSE_S", PAUSE_S)
        patch.setattr(bodies, "STREAM_S", STREAM_S)
        with serving(settings) as listening:
            yield listening


def test_who_is_slow_is_not_waited_for(port: int, key: str) -> None:
    asked = head("POST", "/v1/requests", JSON, LENGTH, key=key)
    lines = head("POST", "/v1/requests", LINES, LENGTH, key=key)
    cancel = head("POST", f"/v1/requests/{uuid4()}/cancel", "Content-Length: 50", key=key)
    expect = head("POST", "/v1/requests", JSON, LENGTH, "Expect: 100-continue", key=key)
    slow: dict[str, tuple[bytes, bytes, float, list[int]]] = {
        "nothing at all": (b"", b"", HEAD_S, []),
        "empty lines": (b"", b"\r\n", HEAD_S, []),
        "a head, slowly": (b"GET / HTTP/1.1\r\nX: ", b"x", HEAD_S, []),
        "a second head, slowly": (head("GET", "/v1/health") + b"G", b"", HEAD_S, [200]),
        "no body": (asked, b"", WHOLE_S, [408]),
        "a body, slowly": (asked, b" ", WHOLE_S, [408]),
        "a body that is waited for": (expect, b"", WHOLE_S, [408]),
        "a cancel, slowly": (cancel, b" ", WHOLE_S, [408]),
        "no line": (lines, b"", PAUSE_S, [408]),
        "a line, slowly": (lines, b"x", STREAM_S, [408]),
        "a stranger's body, slowly": (head("POST", "/v1/requests", JSON, LENGTH), b" ", 0.0, [401]),
        "the body of a GET": (head("GET", "/v1/health", LENGTH), b" ", 0.0, [200]),
    }

    def send(name: str) -> tuple[str, Heard]:
        begins, drop, _, _ = slow[name]
        return name, drip(port, begins, drop, each_s=0.1, wait_s=LONG_S)

    with ThreadPoolExecutor(len(slow)) as threads:
        for name, heard in threads.map(send, slow):
            _, _, after_s, statuses = slow[name]
            found = [status for status in heard.statuses if status != 100]
            assert (found, heard.is_closed) == (statuses, True), name
            assert after_s <= heard.after_s + 0.2, name
            assert heard.after_s <= after_s + LATE_S, name
            assert heard.codes == ["too_slow"] * statuses.count(408) + (
                ["unauthenticated"] * statuses.count(401)
            ), name


def test_who_does_not_read_is_not_waited_for(port: int) -> None:
    ahead = 40  # more than what the kernel keeps for them
    with ExitStack() as opened:
        wires = [opened.enter_context(socket()) for _ in range(5)]
        for wire in wires:
            wire.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)
            wire.settimeout(LONG_S)
            wire.connect((HOST, port))
            wire.sendall(head("GET", LARGE) * ahead)
        threading.Event().wait(UNREAD_S + LATE_S)
        for wire in wires:
            assert _rest(wire) < ahead * 1_526_000


def test_who_reads_slowly_but_steadily_has_everything(port: int) -> None:
    never, heard, began_s = threading.Event(), 0, time.monotonic()
    with socket() as wire:
        wire.connect((HOST, port))
        wire.sendall(head("GET", LARGE, "Connection: close"))
        while piece := wire.recv(40_000):
            heard += len(piece)
            never.wait(0.04)
    assert time.monotonic() - began_s > 1.2 * UNREAD_S
    assert heard > 1_500_000


def _rest(wire: socket) -> int:
    """How many bytes still come."""
    count = 0
    try:
        while piece := wire.recv(1_000_000):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count
