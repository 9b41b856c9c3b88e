"""What the client library cannot decompress or parse is answered as refused, and passed over."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from saec.cli.instants import wall_ms
from saec.clock import SystemClock
from saec.contracts.status import Status
from saec.errors import BrokerUnavailableError, Reason
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.kafka import bulk, intake, stretches, unreadable
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.seek import Seeker
from saec.kafka.unreadable import Place, end_of
from saec.settings import Settings
from saec.store.engine import Engine, open_engine
from tests import raw_batches
from tests.altered import alter, take_compressed
from tests.cli.conftest import environment
from tests.hostile.topic import Said, said, take

BOMB = raw_batches.Large(120_000_000)


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


def good() -> bytes:
    """A valid request, due in an hour."""
    value = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(uuid.uuid4()),
        "requester": "tests",
        "channels": ["PUSH"],
        "due_at": wall_ms() + 3_600_000,
        "message": {"body": "Olá", "content_type": "text/plain"},
    }
    return json.dumps(value).encode()


def bomb() -> bytes:
    """More than the client decompresses of zstd."""
    return raw_batches.batch("zstd", BOMB)


def halves() -> bytes:
    """Five records, of which the client sees the first two; of the others it says nothing."""
    return raw_batches.halves([good() for _ in range(5)])


def unparsable() -> bytes:
    """Two records behind a member of gzip in which there is none."""
    return raw_batches.halves([b"", good()], at=1)


@pytest.fixture
def append(installation: Settings) -> Callable[[str, int, bytes], None]:
    """Append to a partition: a batch as it is, or a value."""

    def appended(topic: str, partition: int, what: bytes) -> None:
        if what.startswith(b"{"):
            producer = Producer({"bootstrap.servers": installation.bootstrap_servers})
            producer.produce(topic, what, b"key", partition)
            assert producer.flush(60) == 0
            producer.close()
            return
        where = installation.bootstrap_servers
        assert raw_batches.publish(where, topic, what, partition) == 0

    return appended


Append = Callable[[str, int, bytes], None]


def deadline() -> float:
    """Long after everything should have come."""
    return time.monotonic() + 60


def first(answers: Said, offset: int) -> list[tuple[Status, Reason | None]]:
    return [(status.status, status.reason) for status in answers.statuses[offset]]


def test_a_batch_that_cannot_be_decompressed(
    installation: Settings, engine: Engine, append: Append
) -> None:
    topic = installation.topics.requests
    take_compressed(installation)
    for what in (bomb(), bomb(), good()):
        append(topic, 0, what)
    append(topic, 1, good())
    take(installation, engine, "requests", 4)
    answers = said(installation, topic)
    accepted = (Status.ACCEPTED, None)
    lost = (Status.REJECTED, Reason.UNREADABLE_RECORD)
    assert first(answers, 0) == [accepted, lost] or first(answers, 0) == [lost, accepted]
    assert (first(answers, 1), first(answers, 2)) == ([lost], [accepted])
    for offset in (0, 1):
        (copy,) = answers.copies[offset]
        assert (copy.value, copy.key, copy.reason) == (None, None, "unreadable_record")


@pytest.mark.parametrize(("batch", "count", "seen"), [(halves, 5, 2), (unparsable, 2, 0)])
def test_a_batch_that_ends_early(
    installation: Settings,
    engine: Engine,
    append: Append,
    monkeypatch: pytest.MonkeyPatch,
    batch: Callable[[], bytes],
    count: int,
    seen: int,
) -> None:
    """The client asks for it again for ever, and says nothing."""
    monkeypatch.setattr(intake, "_STILL_S", 0.2)
    monkeypatch.setattr(intake, "_LOOK_S", 0.1)
    topic = installation.topics.requests
    take_compressed(installation)
    append(topic, 0, batch())
    append(topic, 0, good())
    take(installation, engine, "requests", count + 1)
    answers = said(installation, topic)
    for offset in range(count):
        lost = (Status.REJECTED, Reason.UNREADABLE_RECORD)
        assert first(answers, offset) == [(Status.ACCEPTED, None) if offset < seen else lost]
    assert first(answers, count) == [(Status.ACCEPTED, None)]


def test_a_batch_that_ends_early_while_others_come_behind_it(
    installation: Settings,
    engine: Engine,
    append: Append,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Records that arrive all the time do not put off that its partition is looked at."""
    monkeypatch.setattr(intake, "_STILL_S", 1.5)
    monkeypatch.setattr(intake, "_LOOK_S", 0.1)
    topic, ended = installation.topics.requests, threading.Event()
    take_compressed(installation)
    append(topic, 0, halves())

    def go_on() -> None:
        while not ended.wait(0.2):
            append(topic, 0, good())

    publisher = threading.Thread(target=go_on)
    publisher.start()
    positions = StoredPositions(engine, topic)
    opening = opener(installation, engine, "requests", topic, positions)
    taker = RequestIntake(installation, engine, installation.shards, positions)
    loop, taken, until_s = IngestLoop(opening, taker, SystemClock(), "requests"), 0, deadline()
    try:
        while taken < 6:
            taken += loop.run_once()
            assert time.monotonic() < until_s, f"{taken} records came"
    finally:
        ended.set()
        publisher.join()
        loop.close()
    answers = said(installation, topic)
    lost = [(Status.REJECTED, Reason.UNREADABLE_RECORD)]
    assert [first(answers, offset) for offset in range(2, 5)] == [lost] * 3
    assert first(answers, 5) == [(Status.ACCEPTED, None)]


def test_a_customer_that_cannot_be_read(
    installation: Settings, engine: Engine, append: Append
) -> None:
    topic = installation.topics.customers
    take_compressed(installation)
    append(topic, 0, bomb())
    append(topic, 0, b'{"type":"saec.v1.CustomerRegistered","id":"key"}')
    take(installation, engine, "customers", 2)
    answers = said(installation, topic)
    assert first(answers, 0) == [(Status.REJECTED, Reason.UNREADABLE_RECORD)]
    assert first(answers, 1) == []


def test_a_record_that_was_not_stamped(
    installation: Settings, engine: Engine, append: Append
) -> None:
    names = installation.topics
    for topic in (names.requests, names.customers):
        alter(installation, topic, message_timestamp_type="CreateTime")
    append(names.requests, 0, good())
    append(names.customers, 0, b'{"type":"saec.v1.CustomerRegistered","id":"key"}')
    for topic in (names.requests, names.customers):
        alter(installation, topic, message_timestamp_type="LogAppendTime")
    append(names.requests, 0, good())
    take(installation, engine, "requests", 2)
    take(installation, engine, "customers", 1)
    requests, customers = said(installation, names.requests), said(installation, names.customers)
    refused = [(Status.REJECTED, Reason.NO_APPEND_TIME)]
    assert (first(requests, 0), first(requests, 1)) == (refused, [(Status.ACCEPTED, None)])
    assert requests.statuses[0][0].request_id is not None
    assert requests.statuses[0][0].at_ms == 0
    assert first(customers, 0) == refused
    assert customers.statuses[0][0].customer_id == "key"


def test_where_reading_goes_on(installation: Settings, append: Append) -> None:
    topic = installation.topics.requests
    take_compressed(installation)
    for what in (good(), halves(), halves(), bomb(), bomb(), good()):
        append(topic, 0, what)
    ends = [end_of(Place(installation, "requests", topic, 0, at)) for at in range(14)]
    #   good  halves           halves         bombs   good, the end
    assert ends == [None, None, None, 6, 6, 6, None, None, 11, 11, 11, 12, 13, None]
    assert end_of(Place(installation, "requests", topic, 0, 14)) is None


def test_who_does_not_answer_is_not_taken_for_unreadable(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_TRIES", 3)
    away = installation.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(BrokerUnavailableError, match="nothing was heard"):
        end_of(Place(away, "requests", away.topics.requests, 0, 0))


def _of_stretches(settings: Settings, topic: str) -> list[int]:
    pieces = stretches.read(settings, topic, stretches.bounds(settings, topic))
    return [record.offset for piece in pieces for record in piece if record.refused]


def _of_bulk(settings: Settings, topic: str) -> list[int]:
    found = bulk.blocks(settings, topic, stretches.bounds(settings, topic))
    return [b.offsets[row] for b in found for row in range(len(b.offsets)) if b.is_lost(row)]


def _of_seek(settings: Settings, topic: str) -> list[int]:
    with Seeker(settings) as seeker:
        found = seeker.read(seeker.kept(seeker.partitions(topic)))
        return [record.offset for record in found if record.refused]


def _of_follow(settings: Settings, topic: str) -> list[int]:
    return [r.offset for r in read_whole(settings, [topic], Beginning()) if r.refused]


@pytest.mark.parametrize("reader", [_of_stretches, _of_bulk, _of_seek, _of_follow])
def test_every_reader_passes_over_it(
    installation: Settings,
    append: Append,
    monkeypatch: pytest.MonkeyPatch,
    reader: Callable[[Settings, str], list[int]],
) -> None:
    monkeypatch.setattr(unreadable, "_SILENT_S", 0.5)
    topic = installation.topics.requests
    take_compressed(installation)
    for what in (good(), bomb(), good(), halves()):
        append(topic, 0, what)
    append(topic, 1, bomb())
    assert sorted(reader(installation, topic)) == [0, 1, 5, 6, 7]


def test_a_command_says_so_beside_its_output(installation: Settings, append: Append) -> None:
    take_compressed(installation)
    append(installation.topics.requests, 0, bomb())
    done = subprocess.run(
        [sys.executable, "-c", "from saec.cli import main; main()", "audit", "--json"],
        capture_output=True,
        text=True,
        env=os.environ | environment(installation),
        check=False,
    )
    assert json.loads(done.stdout), done.stderr
    assert "records unreadable" in done.stderr
