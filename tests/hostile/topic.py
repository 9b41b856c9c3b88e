"""A real topic, the real ingest loop, and everything it said."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from saec.clock import SystemClock
from saec.contracts.headers import CopiedHeaders
from saec.contracts.status import RequestStatus, decode_status
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.kafka import stretches
from saec.kafka.transaction import InDoubtError
from saec.settings import Settings
from saec.store.engine import Engine

TIMEOUT_S = 60.0
LARGEST_BYTES = 20_000_000
EMPTY_READS = 40


@dataclass(frozen=True)
class Record:
    """What is published, always to partition 0."""

    value: bytes | None
    key: bytes | None = None
    headers: CopiedHeaders = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True)
class Copy:
    """A record of saec.rejected, without the headers that say why and where from."""

    value: bytes | None
    key: bytes | None
    headers: CopiedHeaders
    reason: str


@dataclass
class Said:
    """What was answered, by the offset of the record that it answers."""

    statuses: dict[int, list[RequestStatus]] = field(default_factory=lambda: defaultdict(list))
    copies: dict[int, list[Copy]] = field(default_factory=lambda: defaultdict(list))
    raw: list[bytes] = field(default_factory=list)


def publish(
    settings: Settings, topic: str, records: Iterable[Record], compression: str = "zstd"
) -> list[str]:
    """Publish in order; returns what the broker refused."""
    refused: list[str] = []
    appended: dict[int, int] = {}

    def teller(place: int) -> Callable[[Any, Any], None]:
        def told(error: Any, message: Any) -> None:
            if error is None:
                appended[place] = message.offset()
            else:
                refused.append(error.name())

        return told

    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "compression.type": compression,
            "message.max.bytes": LARGEST_BYTES,
            # One record a batch, so that a record is what the topic's limit is about.
            "batch.num.messages": 1,
            "max.in.flight": 1,
        }
    )
    for place, record in enumerate(records):
        more: dict[str, Any] = {"headers": list(record.headers), "on_delivery": teller(place)}
        if record.timestamp_ms is not None:
            more["timestamp"] = record.timestamp_ms
        producer.produce(topic, record.value, record.key, 0, **more)
        if place == 0:
            producer.flush(TIMEOUT_S)  # what waits for the topic's metadata may be overtaken
    assert producer.flush(TIMEOUT_S) == 0
    producer.close()
    assert list(appended.values()) == sorted(appended.values()), "not in order"
    assert list(appended) == sorted(appended), "not in order"
    return refused


def take(settings: Settings, engine: Engine, role: str, count: int, *, failures: int = 0) -> None:
    """Let the ingest loop of a role take exactly this many records; so many batches may fail."""
    takers: dict[str, Callable[[], Any]] = {
        "requests": lambda: RequestIntake(settings, engine, settings.shards),
        "customers": lambda: CustomerIntake(settings, engine),
    }
    opening = opener(settings, engine, role, f"{settings.topic_prefix}{role}")
    loop = IngestLoop(opening, takers[role](), SystemClock(), role)
    taken = empty = 0
    while taken < count:
        try:
            now = loop.run_once()
        except InDoubtError as error:
            assert failures > 0
            now, failures = 0, failures - 1
            loop._go_back(error)
        taken, empty = taken + now, empty + (now == 0)
        assert empty < EMPTY_READS, f"{taken} of {count} records came"
    loop.close()
    assert taken == count


def said(settings: Settings, source: str) -> Said:
    """Everything that was committed about the records of a source topic."""
    found = Said()
    for message in _read(settings, settings.topics.status):
        headers = dict(message.headers())
        topic, _, offset, *_ = headers["ce_id"].decode().split("/")
        if topic == source:
            found.statuses[int(offset)].append(decode_status(message.value()))
            found.raw += [message.value(), *headers.values()]
    for message in _read(settings, settings.topics.rejected):
        came = list(message.headers())
        ours = {name: value for name, value in came if name.startswith("saec-")}
        assert len(ours) == sum(name.startswith("saec-") for name, _ in came), "forged"
        if ours["saec-source-topic"].decode() == source:
            foreign = [header for header in came if not header[0].startswith("saec-")]
            copy = Copy(message.value(), message.key(), foreign, ours["saec-reason"].decode())
            found.copies[int(ours["saec-source-offset"])].append(copy)
            found.raw += ours.values()
    return found


def _read(settings: Settings, topic: str) -> list[Any]:
    stretches.settled(settings, topic)  # a commit is told before its end shows everywhere
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": f"{settings.topic_prefix}tests",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": LARGEST_BYTES,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    found, ended = [], 0
    while ended < settings.partitions:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, "the broker did not answer"
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return found
