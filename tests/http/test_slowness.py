"""Who sends slowly, or nothing, or does not read: an endpoint in this process, less patient."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET, socket
from uuid import uuid4

import pytest

from saec.http import bodies, protocol
from saec.settings import Settings
from tests.http.inside import serving
from tests.http.kit import NEVER_S
from tests.http.wire import HANGS_S, HOST, Heard, drip, head
from tests.outages.grounds import wait_until

SOON_S = 0.5
STEADY_S = 4.0  # no pause of the reader's is as long, and all of them together are
LARGE = "/static-offline-docs/swagger-ui-bundle.js"
JSON = "Content-Type: application/json"
LINES = "Content-Type: application/jsonl"
LENGTH = "Content-Length: 5000"
BOUNDS = {
    "HEAD_S": protocol,
    "UNREAD_S": protocol,
    "WHOLE_S": bodies,
    "PAUSE_S": bodies,
    "STREAM_S": bodies,
}


@pytest.fixture(scope="module")
def port(settings: Settings, key: str) -> Iterator[int]:
    """Where it listens."""
    del key  # made before it starts
    with serving(settings) as listening:
        yield listening


def patient_but_for(bound: str | None, bound_s: float, patch: pytest.MonkeyPatch) -> None:
    """One bound is soon reached, and the others never: however slow the machine is, it was that."""
    for name, module in BOUNDS.items():
        patch.setattr(module, name, bound_s if name == bound else NEVER_S)


@pytest.mark.parametrize("bound", ["HEAD_S", "WHOLE_S", "PAUSE_S", "STREAM_S", None])
def test_who_is_slow_is_not_waited_for(
    bound: str | None, port: int, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = head("POST", "/v1/requests", JSON, LENGTH, key=key)
    lines = head("POST", "/v1/requests", LINES, LENGTH, key=key)
    cancel = head("POST", f"/v1/requests/{uuid4()}/cancel", "Content-Length: 50", key=key)
    expect = head("POST", "/v1/requests", JSON, LENGTH, "Expect: 100-continue", key=key)
    all_slow: dict[str, tuple[bytes, bytes, str | None, list[int]]] = {
        "nothing at all": (b"", b"", "HEAD_S", []),
        "empty lines": (b"", b"\r\n", "HEAD_S", []),
        "a head, slowly": (b"GET / HTTP/1.1\r\nX: ", b"x", "HEAD_S", []),
        "a second head, slowly": (head("GET", "/v1/health") + b"G", b"", "HEAD_S", [200]),
        "no body": (asked, b"", "WHOLE_S", [408]),
        "a body, slowly": (asked, b" ", "WHOLE_S", [408]),
        "a body that is waited for": (expect, b"", "WHOLE_S", [408]),
        "a cancel, slowly": (cancel, b" ", "WHOLE_S", [408]),
        "no line": (lines, b"", "PAUSE_S", [408]),
        "a line, slowly": (lines, b"x", "STREAM_S", [408]),
        "a stranger's body, slowly": (
            head("POST", "/v1/requests", JSON, LENGTH),
            b" ",
            None,
            [401],
        ),
        "the body of a GET": (head("GET", "/v1/health", LENGTH), b" ", None, [200]),
    }
    slow = {name: one for name, one in all_slow.items() if one[2] == bound}
    patient_but_for(bound, SOON_S, monkeypatch)

    def send(name: str) -> tuple[str, Heard]:
        begins, drop, _, _ = slow[name]
        return name, drip(port, begins, drop, each_s=0.1, wait_s=HANGS_S)

    with ThreadPoolExecutor(len(slow)) as threads:
        for name, heard in threads.map(send, slow):
            statuses = slow[name][3]
            found = [status for status in heard.statuses if status != 100]
            assert (found, heard.is_closed) == (statuses, True), name
            assert bound is None or heard.after_s > SOON_S - 0.2, name
            assert heard.codes == ["too_slow"] * statuses.count(408) + (
                ["unauthenticated"] * statuses.count(401)
            ), name


def test_who_does_not_read_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    patient_but_for("UNREAD_S", SOON_S, monkeypatch)
    ahead = 40  # more than what the kernel keeps for them
    with ExitStack() as opened:
        wires = [opened.enter_context(socket()) for _ in range(5)]
        for wire in wires:
            wire.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)
            wire.settimeout(HANGS_S)
            wire.connect((HOST, port))
            wire.sendall(head("GET", LARGE) * ahead)
        wait_until(lambda: open_at(port) == 0)
        for wire in wires:
            assert _rest(wire) < ahead * 1_526_000


def test_who_reads_slowly_but_steadily_has_everything(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient_but_for("UNREAD_S", STEADY_S, monkeypatch)
    never, heard, began_s = threading.Event(), 0, time.monotonic()
    with socket() as wire:
        wire.connect((HOST, port))
        wire.sendall(head("GET", LARGE, "Connection: close"))
        while piece := wire.recv(15_000):
            heard += len(piece)
            never.wait(0.05)
    assert time.monotonic() - began_s > 1.2 * STEADY_S
    assert heard > 1_500_000


def open_at(port: int) -> int:
    """How many connections the server has at this port, as the kernel tells."""
    here, established = f"0100007F:{port:04X}", "01"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum((row[1], row[3]) == (here, established) for row in rows)


def _rest(wire: socket) -> int:
    """How many bytes still come."""
    count = 0
    try:
        while piece := wire.recv(1_000_000):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count
