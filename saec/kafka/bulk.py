"""Reads whole stretches of topics as fast as the client can, many records at a time.

Invariant: a stretch is read to its end or an error is raised; what is held at a time is bounded by
the client's queue, whatever the size of a record. Committed records only; nothing is committed.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from saec.contracts.headers import RawHeaders
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.replay import Stretch
from saec.settings import Settings

_MOST_RECORDS = 10_000
_POLL_S = 0.2
_QUEUE_KBYTES = 16_384
# How long the client pauses when its queue is full: by default a second, in which it stays empty.
_QUEUE_PAUSE_MS = 2
# Kafka looks for transactions that were left open every so often.
_EXTRA_S = 20.0


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one topic, as parallel lists; `reached` is the next offset of each partition."""

    topic: str
    partitions: list[int]
    offsets: list[int]
    stamps_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    reached: dict[int, int]
    messages: list[Any]

    def headers(self, row: int) -> RawHeaders:
        """The headers of one record: they cost more than all the rest of it."""
        return clients.headers_of(self.messages[row])


def blocks(settings: Settings, topic: str, wanted: Mapping[int, Stretch]) -> Iterator[Block]:
    """The committed records of these stretches, each partition in order.

    Raises:
        BrokerUnavailableError: an error, or nothing came for longer than a transaction may last.
    """
    left = {partition: stretch.end for partition, stretch in wanted.items() if len(stretch)}
    bound_s = settings.transaction_timeout_s + _EXTRA_S
    with closing(_consumer(settings)) as consumer:
        consumer.assign([TopicPartition(topic, p, wanted[p].start) for p in left])
        silent_s = 0.0
        while left:
            first = consumer.poll(_POLL_S)
            silent_s = silent_s + _POLL_S if first is None else 0.0
            if silent_s > bound_s:
                raise BrokerUnavailableError(
                    f"{topic}: nothing came for {bound_s:.0f} s, before the end; a transaction "
                    "may hang in it"
                )
            if first is not None:
                # What is there already, without waiting: no more than the queue holds.
                yield _block(consumer, topic, [first, *consumer.consume(_MOST_RECORDS, 0)], left)


def _block(consumer: Consumer, topic: str, messages: list[Any], left: dict[int, int]) -> Block:
    """A block of what belongs to the stretches; `left` loses the partitions that are done."""
    events = [message for message in messages if message.error() is not None]
    good = [message for message in messages if message.error() is None] if events else messages
    reached: dict[int, int] = {}
    # Each partition is in order: of several, the last one stays.
    for partition, offset in zip(_partitions(good), _offsets(good), strict=True):
        reached[partition] = offset + 1
    for event in events:
        # The end of a partition also comes past control records, which never arrive.
        if event.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            reached[event.partition()] = event.offset()
        elif not event.error().retriable():
            raise BrokerUnavailableError(f"reading {topic}: {event.error().str()}")
    if any(offset > left.get(partition, -1) for partition, offset in reached.items()):
        good = [one for one in good if one.offset() < left.get(one.partition(), -1)]
    return _cut(consumer, topic, good, reached, left)


def _cut(
    consumer: Consumer, topic: str, good: list[Any], reached: dict[int, int], left: dict[int, int]
) -> Block:
    within = {p: min(offset, left[p]) for p, offset in reached.items() if p in left}
    for partition, offset in within.items():
        if offset >= left[partition]:
            del left[partition]
            consumer.pause([TopicPartition(topic, partition)])
    return Block(
        topic,
        _partitions(good),
        _offsets(good),
        [message.timestamp()[1] for message in good],
        [message.key() for message in good],
        [message.value() for message in good],
        within,
        good,
    )


def _partitions(messages: list[Any]) -> list[int]:
    return [message.partition() for message in messages]


def _offsets(messages: list[Any]) -> list[int]:
    return [message.offset() for message in messages]


def _consumer(settings: Settings) -> Consumer:
    return clients.consumer(
        settings,
        settings.group_id("reader"),
        **{
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": _QUEUE_KBYTES,
            "fetch.queue.backoff.ms": _QUEUE_PAUSE_MS,
        },
    )
