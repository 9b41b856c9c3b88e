"""What the tests of replays share: topics of their own, and readers that SAEC did not write."""

import itertools
import threading
from collections.abc import Iterable
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from saec.settings import Settings

TIMEOUT_S = 60.0
OWN = (
    "saec-replay-id",
    "saec-source-topic",
    "saec-source-partition",
    "saec-source-offset",
    "saec-source-timestamp",
)
_numbers = itertools.count()


class Seen(NamedTuple):
    """A record as any consumer sees it."""

    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @property
    def content(self) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """What a copy has in common with its source."""
        return self.key, self.value, self.headers

    @property
    def before(self) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """Of a copy, the same without what the copying added."""
        added = [name for name, _ in self.headers[-len(OWN) :]]
        assert added == list(OWN)
        return self.key, self.value, self.headers[: -len(OWN)]

    @property
    def source(self) -> tuple[str, int, int]:
        """Of a copy, where it comes from: the last headers of these names."""
        own = {name: value or b"" for name, value in self.headers}
        partition, offset = own["saec-source-partition"], own["saec-source-offset"]
        return own["saec-source-topic"].decode(), int(partition), int(offset)


def make_topic(settings: Settings, partitions: int = 2, **config: str) -> str:
    """A topic of the test's own, deleted with the installation."""
    name = f"{settings.topic_prefix}of-tests-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    dotted = {key.replace("_", "."): value for key, value in config.items()}
    for made in admin.create_topics([NewTopic(name, partitions, 1, config=dotted)]).values():
        made.result(TIMEOUT_S)
    for _ in range(int(TIMEOUT_S / 0.02)):  # a broker shows it a little later
        if name in admin.list_topics(timeout=TIMEOUT_S).topics:
            return name
        threading.Event().wait(0.02)
    raise AssertionError("the topic is not shown")


def put(settings: Settings, topic: str, records: Iterable[dict[str, Any]]) -> None:
    """Publish, each with what `produce` takes."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "message.max.bytes": 2_000_000,
        }
    )
    failed: list[Any] = []
    for record in records:
        producer.produce(topic, on_delivery=lambda e, _: failed.append(e), **record)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0
    assert [error for error in failed if error is not None] == []


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    """Records with a key and a number each."""
    return [{"key": b"k%d" % (n % 7), "value": b"%d" % n, **more} for n in range(count)]


def seen(settings: Settings, topic: str) -> list[Seen]:
    """Every record of a topic for readers of what is committed, by partition in order."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": f"{settings.topic_prefix}of-tests",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "log_level": 0,
    }
    found: list[Seen] = []
    with closing(Consumer(config)) as consumer:
        left = set(consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in left])
        while left:
            message = consumer.poll(TIMEOUT_S)
            assert message is not None
            error = message.error()
            if error is None:
                found.append(_seen(message))
                continue
            assert error.code() == KafkaError._PARTITION_EOF
            left.discard(message.partition())
    return sorted(found, key=lambda one: (one.partition, one.offset))


def _seen(message: Any) -> Seen:
    return Seen(
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or [],
    )


def assert_in_order(copies: list[Seen]) -> None:
    """In each partition, what comes from one source partition stands in its order."""
    last: dict[tuple[int, int], int] = {}
    for copy in copies:
        _, partition, offset = copy.source
        place = (copy.partition, partition)
        assert last.get(place, -1) < offset
        last[place] = offset
