"""Reads whole stretches of topics as fast as the client can, many records at a time.

Invariant: a stretch is read to its end or an error is raised; what is held at a time is one answer
of a broker, and a piece of it. Committed records only; nothing is committed.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saec.contracts.headers import RawHeaders
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.kafka.unreadable import Passer, Place, is_unreadable
from saec.settings import Settings

_MOST_RECORDS = 5_000
_FIRST_RECORDS = 100
_POLL_S = 0.2
_WAKE_S = 1.0
_PIECE_BYTES = 8_388_608
# At the end of a partition the client would wait half a second for more.
_LONGEST_WAIT_MS = 100
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

    @property
    def pairs(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Key and value of each record."""
        return zip(self.keys, self.values, strict=True)

    def is_lost(self, row: int) -> bool:
        """Whether the client could not read what stands there: then nothing of it is known."""
        return isinstance(self.messages[row], _Lost)


@dataclass(frozen=True, slots=True)
class _Lost:
    """What could not be read, in the place of a message."""

    record: Incoming

    def partition(self) -> int:
        return self.record.partition

    def offset(self) -> int:
        return self.record.offset

    def timestamp(self) -> tuple[int, int]:
        return 0, self.record.appended_at_ms

    def key(self) -> None:
        return None

    value = headers = error = key


def blocks(settings: Settings, topic: str, wanted: Mapping[int, Stretch]) -> Iterator[Block]:
    """The committed records of these stretches, each partition in order.

    Raises:
        BrokerUnavailableError: an error, or nothing came for longer than a transaction may last.
    """
    left = {partition: stretch.end for partition, stretch in wanted.items() if len(stretch)}
    bound_s = settings.transaction_timeout_s + _EXTRA_S
    with closing(_consumer(settings)) as consumer:
        places = [TopicPartition(topic, p, wanted[p].start) for p in left]
        consumer.assign(places)
        _wake(consumer, places)
        passer = Passer(
            consumer, [Place(settings, "reader", topic, p, wanted[p].start) for p in left]
        )
        silent_s, room = 0.0, _FIRST_RECORDS
        while left:
            first = consumer.poll(_POLL_S)
            silent_s = silent_s + _POLL_S if first is None else 0.0
            if silent_s > bound_s:
                raise BrokerUnavailableError(
                    f"{topic}: nothing came for {bound_s:.0f} s, before the end; a transaction "
                    "may hang in it"
                )
            if first is None:
                messages: list[Any] = _lost(passer.silent(_POLL_S, ((topic, p) for p in left)))
            else:
                # What is there already, without waiting: about as much as a piece may hold.
                messages = _readable([first, *consumer.consume(room, 0)], passer)
            if messages:
                block = _block(consumer, topic, messages, left)
                room = _room(block)
                yield block


def _readable(messages: list[Any], passer: Passer) -> list[Any]:
    """The messages, with what could not be read in its place."""
    passer.heard()
    found = []
    for message in messages:
        if is_unreadable(error := message.error()):
            found += _lost(passer.past(message))
            continue
        if error is None:
            passer.took(message)
        found.append(message)
    return found


def _lost(records: list[Incoming]) -> list[Any]:
    return [_Lost(record) for record in records]


def _room(block: Block) -> int:
    """How many records to take at once, so that a piece is not larger than it needs to be."""
    largest = max((len(value or b"") + len(key or b"") for key, value in block.pairs), default=0)
    return max(1, min(_MOST_RECORDS, _PIECE_BYTES // (largest + 1)))


def _wake(consumer: Consumer, places: list[TopicPartition]) -> None:
    """The client's threads would begin to fetch up to a second later; a question wakes them."""
    with suppress(KafkaException):
        consumer.offsets_for_times(
            [TopicPartition(place.topic, place.partition, 0) for place in places], timeout=_WAKE_S
        )


def _block(consumer: Consumer, topic: str, messages: list[Any], left: dict[int, int]) -> Block:
    """A block of what belongs to the stretches; `left` loses the partitions that are done."""
    events = [message for message in messages if message.error() is not None]
    if events:
        messages = [message for message in messages if message.error() is None]
    partitions = [message.partition() for message in messages]
    offsets = [message.offset() for message in messages]
    # Each partition is in order: of several, the last one stays.
    reached = {p: offset + 1 for p, offset in zip(partitions, offsets, strict=True)}
    reached |= _ends(topic, events)
    if any(offset > left.get(partition, -1) for partition, offset in reached.items()):
        messages = [one for one in messages if one.offset() < left.get(one.partition(), -1)]
        partitions = [message.partition() for message in messages]
        offsets = [message.offset() for message in messages]
    reached = {p: min(offset, left[p]) for p, offset in reached.items() if p in left}
    for partition, offset in reached.items():
        if offset >= left[partition]:
            del left[partition]
            consumer.pause([TopicPartition(topic, partition)])
    return Block(
        topic,
        partitions,
        offsets,
        [message.timestamp()[1] for message in messages],
        [message.key() for message in messages],
        [message.value() for message in messages],
        reached,
        messages,
    )


def _ends(topic: str, events: list[Any]) -> dict[int, int]:
    """Ends of partitions that were reached, also past control records, which never arrive."""
    found = {}
    for event in events:
        if event.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            found[event.partition()] = event.offset()
        elif not event.error().retriable():
            raise BrokerUnavailableError(f"reading {topic}: {event.error().str()}")
    return found


def _consumer(settings: Settings) -> Consumer:
    return clients.consumer(
        settings,
        settings.group_id("reader"),
        **{
            "enable.partition.eof": True,
            "fetch.wait.max.ms": _LONGEST_WAIT_MS,
        },
    )
