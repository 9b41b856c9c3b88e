"""Reading a source topic: where it starts, and that each record is answered exactly once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from saec.clock import SystemClock
from saec.contracts.status import Status, decode_status
from saec.errors import ConfigurationError, SaecError
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.kafka.intake import Intake, start_offset
from saec.kafka.records import Incoming, Outgoing
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.outage import TELL_AGAIN_S, Reminder
from saec.settings import Settings
from saec.store.engine import Engine, count, open_engine, transaction
from saec.store.positions import read_positions

ROLE = "requests"
TIMEOUT_S = 60.0


@pytest.mark.parametrize(
    ("group", "saved", "oldest", "starts"),
    [
        pytest.param(None, None, 0, 0, id="never read"),
        pytest.param(None, None, 7, 7, id="never read, and retention took some"),
        pytest.param(None, 5, 0, 5, id="the first commit did not reach the group"),
        pytest.param(5, 5, 0, 5, id="both agree"),
        pytest.param(5, 9, 0, 5, id="stored but not answered"),
        pytest.param(5, 9, 5, 5, id="retention took what was read"),
    ],
)
def test_a_partition_starts_at_the_smaller_of_what_is_known(
    group: int | None, saved: int | None, oldest: int, starts: int
) -> None:
    assert start_offset("t partition 0", group, saved, oldest) == starts


@pytest.mark.parametrize(
    ("group", "saved", "oldest", "says"),
    [
        pytest.param(5, 4, 0, "up to 4, the group up to 5", id="store behind the group"),
        pytest.param(5, None, 0, "went back in time", id="store knows nothing"),
        pytest.param(5, 4, 9, "went back in time", id="store behind, and a gap"),
        pytest.param(5, 9, 6, "offsets 5 to 5 were deleted", id="retention passed the group"),
        pytest.param(None, 5, 8, "offsets 5 to 7 were deleted", id="retention passed the store"),
    ],
)
def test_a_partition_never_starts_over_a_gap(
    group: int | None, saved: int | None, oldest: int, says: str
) -> None:
    with pytest.raises(SaecError, match=r"^t partition 0: ") as refused:
        start_offset("t partition 0", group, saved, oldest)
    assert says in str(refused.value)


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


def request(request_id: UUID) -> bytes:
    """A request that is due in an hour."""
    event = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(request_id),
        "requester": "tests",
        "channels": ["PUSH"],
        "due_at": int((time.time() + 3600) * 1000),
        "message": {"body": "Olá", "content_type": "text/plain"},
    }
    return json.dumps(event).encode()


def publish(settings: Settings, count: int, topic: str = "") -> list[UUID]:
    """Publish requests to both partitions in turn; returns their ids."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    ids = [uuid4() for _ in range(count)]
    for number, id_ in enumerate(ids):
        producer.produce(topic or settings.topics.requests, request(id_), partition=number % 2)
    assert producer.flush(TIMEOUT_S) == 0
    producer.close()
    return ids


def until(condition: Callable[[], object]) -> None:
    """Call `condition` until it is true. It waits by itself, or what it calls does."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true"


@contextmanager
def reader(settings: Settings) -> Iterator[Consumer]:
    """A consumer that never joins the group."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": settings.group_id(ROLE),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def committed(settings: Settings) -> dict[int, int]:
    """What the group has committed of the requests topic: partition -> offset."""
    partitions = [TopicPartition(settings.topics.requests, number) for number in range(2)]
    with reader(settings) as consumer:
        found = consumer.committed(partitions, timeout=TIMEOUT_S)
    return {one.partition: one.offset for one in found if one.offset >= 0}


def answers(settings: Settings) -> Counter[tuple[str, Status]]:
    """Every committed status: (request id, status) -> how often."""
    topic, found, ended = settings.topics.status, Counter[tuple[str, Status]](), 0
    with reader(settings) as consumer:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(2)])
        while ended < 2:
            message = consumer.poll(TIMEOUT_S)
            assert message is not None, "the broker did not answer"
            if message.error():
                ended += 1
            else:
                status = decode_status(message.value())
                found[str(status.request_id), status.status] += 1
    return found


def accepted_once(ids: list[UUID]) -> Counter[tuple[str, Status]]:
    return Counter({(str(id_), Status.ACCEPTED): 1 for id_ in ids})


class Watched:
    """Positions kept in memory; remembers what the group knew when they were saved."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.saved: dict[int, int] = {}
        self.group_when_saved: list[dict[int, int]] = []

    def read(self) -> Mapping[int, int]:
        return self.saved

    def save(self, next_offsets: Mapping[int, int]) -> None:
        self.group_when_saved.append(committed(self._settings))
        self.saved |= next_offsets


def test_the_first_start_is_written_down_before_anything_is_read(installation: Settings) -> None:
    """In the store, then in the group: what only the group knew could not be told from a loss."""
    publish(installation, 10)
    oldest = {0: 2, 1: 1}
    deletions = [
        TopicPartition(installation.topics.requests, partition, offset)
        for partition, offset in oldest.items()
    ]
    admin = AdminClient({"bootstrap.servers": installation.bootstrap_servers})
    for deletion in admin.delete_records(deletions).values():
        deletion.result(TIMEOUT_S)
    positions = Watched(installation)
    intake = Intake(installation, ROLE, installation.topics.requests, positions)
    try:
        batch: list[Incoming] = []

        def read() -> bool:
            batch.extend(intake.read().records)
            return bool(batch)

        until(read)
        assert positions.saved == oldest
        assert positions.group_when_saved == [{}]
        assert committed(installation) == oldest
        first: dict[int, int] = {}
        for record in batch:
            first.setdefault(record.partition, record.offset)
        assert first.items() <= oldest.items()
    finally:
        intake.close()


class Counting(RequestIntake):
    """Counts the batches it stores."""

    batches = 0

    def store(self, records: Any, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        self.batches += 1
        return super().store(records, next_offsets)


@dataclass
class Process:
    """The loop of a requests process in a thread."""

    loop: IngestLoop
    taker: Counting
    thread: threading.Thread

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.stop()
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[[Settings], Process]]:
    """Starts processes; those that were not stopped are, at the end."""
    started: list[Process] = []

    def start(settings: Settings) -> Process:
        intake = opener(settings, engine, ROLE, settings.topics.requests)
        taker = Counting(settings, engine, settings.shards)
        loop = IngestLoop(intake, taker, SystemClock(), ROLE)

        def run() -> None:
            try:
                loop.run()
            finally:
                loop.close()

        process = Process(loop, taker, threading.Thread(target=run))
        started.append(process)
        process.thread.start()
        return process

    yield start
    for process in started:
        process.stop()


@pytest.mark.parametrize("fails", ["before the commit", "after the commit"])
def test_a_batch_whose_answer_failed_comes_again_and_is_answered_once(
    installation: Settings,
    start: Callable[[Settings], Process],
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    """It looks the same to the process whether the broker did it or not."""
    commit, failed = TransactionalProducer.commit, threading.Event()

    def commit_once_in_doubt(producer: TransactionalProducer) -> None:
        if failed.is_set():
            commit(producer)
            return
        failed.set()
        if fails == "after the commit":
            commit(producer)
        raise InDoubtError("the answer of the broker was lost")

    monkeypatch.setattr(TransactionalProducer, "commit", commit_once_in_doubt)
    ids = publish(installation, 6)
    process = start(installation.model_copy(update={"transaction_timeout_s": 2}))
    until(lambda: committed(installation) == {0: 3, 1: 3})
    process.stop()
    assert failed.is_set()
    assert answers(installation) == accepted_once(ids)


def test_members_that_come_and_go_lose_and_double_nothing(
    installation: Settings, start: Callable[[Settings], Process]
) -> None:
    small = installation.model_copy(update={"ingest_batch_records": 20})
    ids = publish(installation, 400)

    def taken_by(process: Process, batches: int) -> None:
        """Publish on until a process has taken so many batches more."""
        enough = process.taker.batches + batches

        def taken() -> bool:
            ids.extend(publish(installation, 20))
            return process.taker.batches >= enough

        until(taken)

    first = start(small)
    taken_by(first, 2)
    second = start(small)  # joins while the first is in the middle of it
    taken_by(second, 2)
    taken_by(first, 2)
    first.stop()  # leaves while the second is
    taken_by(second, 5)
    half = len(ids) // 2
    until(lambda: committed(installation) == {0: half, 1: half})
    second.stop()
    assert answers(installation) == accepted_once(ids)
    assert stored_positions(installation) == {0: half, 1: half}


class Rebalancing:
    """A consumer whose partitions are taken and given back once, at a call that `when` knows."""

    def __init__(
        self, intake: Intake, consumer: Consumer, when: Callable[[int, float], bool]
    ) -> None:
        self._intake = intake
        self._consumer = consumer
        self._when = when
        self.rebalanced = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        if self._when(count, timeout_s) and not self.rebalanced:
            self.rebalanced = True
            assigned = self._consumer.assignment()
            self._intake._revoke(self._consumer, assigned)
            self._intake._assign(self._consumer, assigned)
        return self._consumer.consume(count, timeout_s)  # type: ignore[no-any-return]


def test_a_batch_that_a_rebalance_falls_into_is_read_anew(installation: Settings) -> None:
    publish(installation, 6)
    intake = Intake(installation, ROLE, installation.topics.requests, Watched(installation))
    consumer = intake._consumer = Rebalancing(intake, intake._consumer, lambda count, _: count > 1)
    read: Counter[tuple[int, int]] = Counter()

    def enough() -> bool:
        read.update((record.partition, record.offset) for record in intake.read().records)
        return read.total() >= 6

    try:
        until(enough)
    finally:
        intake.close()
    assert consumer.rebalanced
    assert read == Counter({(partition, offset): 1 for partition in (0, 1) for offset in range(3)})


def test_a_batch_that_is_lost_while_the_next_is_read_is_answered_once(
    installation: Settings, engine: Engine
) -> None:
    """Its partitions begin where they are committed: before it, so it is read again."""
    small = installation.model_copy(update={"ingest_batch_records": 3})
    ids = publish(installation, 12)
    opened = opener(small, engine, ROLE, small.topics.requests)()
    consumer = Rebalancing(opened, opened._consumer, lambda _, timeout_s: timeout_s == 0)
    opened._consumer = consumer
    taker = Counting(small, engine, small.shards)
    loop = IngestLoop(lambda: opened, taker, SystemClock(), ROLE)
    try:
        until(lambda: loop.run_once() == 0 and consumer.rebalanced)
        assert taker.batches == 0
        until(lambda: loop.run_once() >= 0 and committed(installation) == {0: 6, 1: 6})
    finally:
        loop.close()
    assert answers(installation) == accepted_once(ids)


@pytest.fixture
def read_so_far(installation: Settings, start: Callable[[Settings], Process]) -> Settings:
    """An installation that has read two records of each partition; two more wait there."""
    publish(installation, 4)
    process = start(installation)
    until(lambda: committed(installation) == {0: 2, 1: 2})
    process.stop()
    publish(installation, 4)
    return installation


def test_a_process_does_not_read_on_when_the_database_went_back_in_time(
    read_so_far: Settings, engine: Engine
) -> None:
    with transaction(engine) as connection:
        count(connection, "DELETE FROM positions")
    taker = Counting(read_so_far, engine, read_so_far.shards)
    intake = opener(read_so_far, engine, ROLE, read_so_far.topics.requests)
    loop = IngestLoop(intake, taker, SystemClock(), ROLE)
    try:
        with pytest.raises(ConfigurationError, match="went back in time"):
            loop.run()
    finally:
        loop.close()
    assert taker.batches == 0


def test_a_partition_with_a_gap_stands_still_and_the_others_go_on(
    read_so_far: Settings, start: Callable[[Settings], Process]
) -> None:
    gap = TopicPartition(read_so_far.topics.requests, 0, 3)
    admin = AdminClient({"bootstrap.servers": read_so_far.bootstrap_servers})
    admin.delete_records([gap])[gap].result(TIMEOUT_S)
    with structlog.testing.capture_logs() as logs:
        process = start(read_so_far)
        until(lambda: committed(read_so_far)[1] == 4)
        publish(read_so_far, 2)
        until(lambda: committed(read_so_far)[1] == 5)
        process.stop()
    assert committed(read_so_far)[0] == 2
    (said,) = [log for log in logs if log["log_level"] == "error"]
    assert "partition 0: offsets 2 to 2 were deleted before they were read" in said["error"]


def test_a_partition_that_stands_still_is_told_again() -> None:
    intake = Intake.__new__(Intake)
    intake._gaps, intake._reminder = {0: "gone", 1: "gone as well"}, Reminder(SystemClock())
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            intake._tell_gaps()
        assert [log["error"] for log in logs] == ["gone", "gone as well"]
        intake._reminder._told_s = dict.fromkeys(intake._gaps.values(), -TELL_AGAIN_S)
        intake._tell_gaps()
    assert [log["error"] for log in logs] == ["gone", "gone as well"] * 2


def stored_positions(settings: Settings) -> dict[int, int]:
    engine = open_engine(settings.database_url)
    with transaction(engine) as connection:
        found = read_positions(connection, settings.topics.requests)
    engine.dispose()
    return found
