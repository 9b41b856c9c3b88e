"""Records that once stopped the stream: each is answered, and the good one behind it taken."""

import json
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from saec.clock import SystemClock
from saec.contracts.status import Status, decode_status
from saec.errors import Reason
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.altered import take_compressed

Produce = Callable[[Producer, str], None]


def good() -> bytes:
    """A valid request, if long past."""
    value = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(uuid.uuid4()),
        "requester": "tests",
        "channels": ["PUSH"],
        "due_at": "2026-01-01T00:00:00Z",
        "message": {"body": "Olá", "content_type": "text/plain"},
    }
    return json.dumps(value).encode()


GOOD = good()


def large(producer: Producer, topic: str) -> None:
    """Compressed it fits the topic; as it is, it would not fit saec.rejected."""
    producer.produce(topic, b"x" * 6_000_000, b"key", 0)


def large_key(producer: Producer, topic: str) -> None:
    producer.produce(topic, b"x", b"k" * 6_000_000, 0)


def odd_header(producer: Producer, topic: str) -> None:
    producer.produce(topic, b"x", b"key", 0, headers=[("a", b"\xff\xfe"), ("b", None)])


def every_byte(producer: Producer, topic: str) -> None:
    producer.produce(topic, bytes(range(256)), bytes(range(256)), 0)


@pytest.mark.parametrize(
    ("produce", "reason", "copied"),
    [
        (large, Reason.VALUE_TOO_LARGE, False),
        (large_key, Reason.INVALID_JSON, False),
        (odd_header, Reason.INVALID_JSON, True),
        (every_byte, Reason.NOT_UTF8, True),
    ],
)
def test_the_record_behind_is_taken(
    produce: Produce, reason: Reason, installation: Settings, *, copied: bool
) -> None:
    take_compressed(installation)
    producer = Producer(
        {
            "bootstrap.servers": installation.bootstrap_servers,
            "compression.type": "zstd",
            "message.max.bytes": 20_000_000,
        }
    )
    produce(producer, installation.topics.requests)
    producer.produce(installation.topics.requests, GOOD, b"key", 0)
    assert producer.flush(60) == 0
    producer.close()
    statuses = [decode_status(value or b"") for value in answers(installation, "status", 2)]
    assert {(s.status, s.reason) for s in statuses} == {
        (Status.REJECTED, reason),
        (Status.REJECTED, Reason.DUE_IN_THE_PAST),
    }
    values = [value for value in answers(installation, "rejected", 2) if value != GOOD]
    assert [value is not None for value in values] == [copied]


def answers(settings: Settings, topic: str, count: int) -> list[bytes | None]:
    """The first values of a topic, while ingest does one batch after the other."""
    engine = open_engine(settings.database_url)
    open_intake = opener(settings, engine, "requests", settings.topics.requests)
    intake = RequestIntake(settings, engine, settings.shards)
    loop = IngestLoop(open_intake, intake, SystemClock(), "requests")
    found: list[bytes | None] = []
    reader = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "tests",
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 20_000_000,
        }
    )
    name = f"{settings.topic_prefix}{topic}"
    reader.assign([TopicPartition(name, partition, 0) for partition in range(settings.partitions)])
    for _ in range(300):
        if len(found) >= count:
            break
        loop.run_once()
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message.value())
    reader.close()
    loop.close()
    engine.dispose()
    return found
