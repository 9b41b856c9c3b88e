"""The order in which a loop reads, decodes, stores and answers batches."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import structlog

from saec.clock import SystemClock
from saec.errors import StoreUnavailableError
from saec.ingest.loop import IngestLoop
from saec.kafka.intake import Batch
from saec.kafka.records import Incoming, Outgoing
from saec.outage import STUCK_FAILURES

TIMEOUT_S = 60.0


class Topic:
    """An intake of one record a batch; goes back to what was answered."""

    def __init__(self, records: int, *, full: bool = True) -> None:
        self._end = records
        self._full = full
        self._next = self.answered = 0
        self.done: list[str] = []
        self.lost: set[int] = set()

    def read(self, *, ahead: bool = False) -> Batch:
        if self._next == self._end:
            return Batch((), full=False)
        self.done.append(f"read {self._next}" + (" ahead" if ahead else ""))
        self._next += 1
        return Batch([Incoming("t", 0, self._next - 1, 0, None, None)], self._full)

    def holds(self, batch: Batch) -> bool:
        return batch.next_offsets[0] - 1 not in self.lost

    def answer(self, batch: Batch, _answers: list[Outgoing], confirm: Callable[[], None]) -> None:
        confirm()
        self.answered = batch.next_offsets[0]
        self.done.append(f"answer {self.answered - 1}")

    def rewind(self) -> None:
        self.done.append("rewind")
        self._next = self.answered

    def close(self) -> None:
        """Nothing to leave."""


class Taker:
    """Remembers what it stores; what a test hooks in is called first."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self.decoded: dict[int, threading.Event] = {n: threading.Event() for n in range(9)}
        self.when_decoded: Callable[[int], None] = lambda _: None
        self.when_stored: Callable[[int], None] = lambda _: None
        self.when_confirmed: Callable[[int], None] = lambda _: None

    def decode(self, batch: Sequence[Incoming]) -> int:
        (record,) = batch
        self.when_decoded(record.offset)
        self.decoded[record.offset].set()
        return record.offset

    def store(self, decoded: int, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        assert next_offsets == {0: decoded + 1}
        self.when_stored(decoded)
        self._topic.done.append(f"store {decoded}")
        return []

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        self.when_confirmed(next_offsets[0] - 1)


def looping(topic: Topic, clock: SystemClock | None = None) -> tuple[IngestLoop, Taker]:
    taker: Any = Taker(topic)
    opened: Any = topic
    return IngestLoop(lambda: opened, taker, clock or SystemClock(), "requests"), taker


def test_in_a_backlog_the_next_batch_is_decoded_while_one_is_stored() -> None:
    topic = Topic(3)
    loop, taker = looping(topic)

    def with_the_next_one(number: int) -> None:
        if number < 2:
            assert taker.decoded[number + 1].wait(TIMEOUT_S), "it was not decoded meanwhile"

    taker.when_stored = with_the_next_one
    assert [loop.run_once() for _ in range(4)] == [1, 1, 1, 0]
    assert topic.done == [
        *("read 0", "read 1 ahead", "store 0", "answer 0"),
        *("read 2 ahead", "store 1", "answer 1"),
        *("store 2", "answer 2"),
    ]


def test_without_a_backlog_a_batch_is_answered_before_the_next_is_read() -> None:
    topic = Topic(2, full=False)
    loop, _ = looping(topic)
    assert [loop.run_once() for _ in range(3)] == [1, 1, 0]
    assert topic.done == [f"{step} {n}" for n in (0, 1) for step in ("read", "store", "answer")]


class Restless(SystemClock):
    """Pauses end at once; so does the loop when the topic is done."""

    def __init__(self, topic: Topic, records: int) -> None:
        self._topic = topic
        self._records = records

    def wait(self, _stop: threading.Event, _timeout_s: float) -> bool:
        return self._topic.answered == self._records


@pytest.mark.parametrize("fails", ["when_stored", "when_decoded", "when_confirmed"])
def test_after_a_failure_what_is_ahead_comes_again_behind_it(fails: str) -> None:
    topic = Topic(3)
    loop, taker = looping(topic, Restless(topic, 3))
    failed = threading.Event()

    def failing_once(number: int) -> None:
        if number == 1 and not failed.is_set():
            failed.set()
            raise StoreUnavailableError("down")
        if failed.is_set() and number == 2:
            loop.stop()  # and what is in hand is still taken

    setattr(taker, fails, failing_once)
    with structlog.testing.capture_logs():
        loop.run()
        loop.run_once()
    stored = [step for step in topic.done if step.startswith(("store", "answer", "rewind"))]
    again = ["rewind", "store 1", "answer 1", "store 2", "answer 2"]
    unanswered = ["store 1"] if fails == "when_confirmed" else []
    assert stored == ["store 0", "answer 0", *unanswered, *again]


def test_a_batch_lost_while_the_next_is_read_is_neither_stored_nor_answered() -> None:
    topic = Topic(2)
    loop, _ = looping(topic)
    topic.lost = {0}
    assert [loop.run_once() for _ in range(2)] == [0, 1]
    assert [step for step in topic.done if not step.startswith("read")] == ["store 1", "answer 1"]


def test_the_same_batch_that_fails_again_and_again_is_trouble() -> None:
    topic = Topic(1)
    loop, taker = looping(topic, Restless(topic, 1))
    troubles: list[str | None] = []

    def failing(_number: int) -> None:
        troubles.append(loop.trouble)
        if len(troubles) <= STUCK_FAILURES:
            raise ArithmeticError
        loop.stop()

    taker.when_stored = failing
    with structlog.testing.capture_logs():
        loop.run()
    *before, told = troubles
    assert before == [None] * STUCK_FAILURES
    assert told is not None
    assert told.startswith(f"the same batch fails, {STUCK_FAILURES} times in a row")
