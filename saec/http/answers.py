"""Waits for what SAEC answers to a record that was published here.

Owns one reader of saec.status for the whole process. Invariant: an answer counts for the record
that its `ce_id` names, and reading began before that record was published, so none is missed
(while Kafka answers; else the caller is told to ask again).
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from saec.clock import Clock
from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, decode_status
from saec.kafka.async_producer import Appended
from saec.kafka.follow import End, Follower
from saec.kafka.records import Incoming
from saec.outage import Outage
from saec.settings import Settings

_POLL_S = 0.02
_AGAIN_S = 1.0

_log = structlog.get_logger("saec.http")


class Expected:
    """The answers that came to one request id since it is expected."""

    def __init__(self) -> None:
        self._said: dict[str, RequestStatus] = {}
        self._came = asyncio.Event()
        self._given_up = False

    def add(self, about: str, answer: RequestStatus) -> None:
        """Take in an answer; `about` is the record that it answers."""
        self._said[about] = answer
        self._came.set()

    def give_up(self) -> None:
        """There will be none."""
        self._given_up = True
        self._came.set()

    async def to(self, record: Appended) -> RequestStatus | None:
        """The answer to this record, however long it takes; None: given up."""
        about = str(record)
        while about not in self._said and not self._given_up:
            self._came.clear()
            await self._came.wait()
        return self._said.get(about)


class Answers:
    """The reader. Made in the event loop that waits; `start` it in a thread of its own."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._expected: dict[bytes, list[Expected]] = {}
        self._stop = threading.Event()
        self._outage = Outage(_log, clock, "answers cannot be read")
        self._thread = threading.Thread(target=self._run, daemon=True, name="answers")
        self._reading = threading.Event()

    def start(self, timeout_s: float) -> None:
        """Start reading; returns when it has begun, or `timeout_s` seconds later."""
        self._thread.start()
        self._reading.wait(timeout_s)

    def give_up(self) -> None:
        """Nobody waits any longer."""
        self._stop.set()
        for waiting in self._expected.values():
            for expected in waiting:
                expected.give_up()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def expecting(self, request_id: str) -> Iterator[Expected]:
        """Within the block answers to this request are kept; publish inside of it."""
        key, one = request_id.encode(), Expected()
        waiting = self._expected.setdefault(key, [])
        waiting.append(one)
        if self._stop.is_set():
            one.give_up()
        try:
            yield one
        finally:
            waiting.remove(one)
            if not waiting:
                del self._expected[key]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception as error:
                self._outage.failed(error)
                self._clock.wait(self._stop, _AGAIN_S)

    def _follow(self) -> None:
        with Follower(self._settings, [self._settings.topics.status], End()) as follower:
            self._reading.set()
            while not self._stop.is_set():
                for record in follower.poll(_POLL_S):
                    if record.key in self._expected:
                        self._tell(record)
                self._outage.over()

    def _tell(self, record: Incoming) -> None:
        about = next((value for name, value in record.headers or () if name == "ce_id"), None)
        try:
            answer = decode_status(record.value or b"")
        except RejectedError:  # of a later release
            return
        if about is not None and record.key is not None:
            text = about.decode(errors="replace")
            self._loop.call_soon_threadsafe(self._offer, record.key, text, answer)

    def _offer(self, key: bytes, about: str, answer: RequestStatus) -> None:
        for expected in self._expected.get(key, ()):
            expected.add(about, answer)
