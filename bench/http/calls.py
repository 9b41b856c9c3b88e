"""Calls: requests at a steady rate, each by whichever of so many connections is free.

Invariant: each call has an id of its own and is made once. How long it took counts from when it was
to be made, so that one which waits for a free connection counts as slow.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError

from bench.http.bodies import NO_ID, template
from bench.http.endpoints import Running

_LONGEST_S = 60.0
BROKEN = 0


@dataclass(frozen=True)
class Answer:
    """What a call came to. Instants are of the monotonic clock; `status` `BROKEN`: to nothing."""

    id_: str
    due_s: float
    answered_s: float
    status: int
    retry_after: bool

    @property
    def wait_ms(self) -> float:
        """From when it was to be made."""
        return (self.answered_s - self.due_s) * 1000


class Calls:
    """Calls that go on until they are stopped. `answers` grows meanwhile."""

    def __init__(self, endpoint: Running, per_second: float, connections: int) -> None:
        self.answers: list[Answer] = []
        self.began_s = time.monotonic()
        self._per_second = per_second
        self._template = template()
        self._headers = {"Content-Type": "application/json", **endpoint.headers}
        self._connections = urllib3.HTTPConnectionPool(
            endpoint.host, endpoint.port, maxsize=connections, block=True
        )
        self._callers = ThreadPoolExecutor(connections)
        self._over = threading.Event()
        self._pace = threading.Thread(target=self._run, daemon=True)
        self._pace.start()

    def stop(self) -> None:
        """Make no more, and wait for those that are under way."""
        self._over.set()
        self._pace.join()
        self._callers.shutdown()
        self._connections.close()

    def _run(self) -> None:
        due_s = self.began_s
        while not self._over.wait(max(0.0, due_s - time.monotonic())):
            self._callers.submit(self._call, due_s)
            due_s += 1 / self._per_second

    def _call(self, due_s: float) -> None:
        id_ = str(uuid.uuid4())
        try:
            answer = self._connections.urlopen(
                "POST",
                "/v1/requests",
                self._template.replace(NO_ID, id_).encode(),
                self._headers,
                retries=False,
                timeout=_LONGEST_S,
            )
            status, retry_after = answer.status, "Retry-After" in answer.headers
        except HTTPError:
            status, retry_after = BROKEN, False
        self.answers.append(Answer(id_, due_s, time.monotonic(), status, retry_after))


@contextmanager
def calling(endpoint: Running, per_second: float, connections: int) -> Iterator[Calls]:
    """Calls while in the block."""
    calls = Calls(endpoint, per_second, connections)
    try:
        yield calls
    finally:
        calls.stop()
