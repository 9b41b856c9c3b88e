"""Reads what was read before: stretches of topics, and how far a group had come.

Invariant: a stretch is read to its end or an error is raised; a pause in what arrives is never
taken for the end. No group is joined and nothing is committed.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.incoming import incoming, weight
from saec.kafka.records import Incoming
from saec.kafka.unreadable import Passer, Place, is_unreadable
from saec.settings import Settings

_TIMEOUT_S = 10.0
_POLL_RECORDS = 500
_POLL_S = 0.2
_PIECE_BYTES = 8_388_608
_LOOK_S = 0.05
_READER = "reader"
# Kafka looks for transactions that were left open every so often.
_STABLE_EXTRA_S = 20.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """The offsets from `start` up to, and without, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.start)


def bounds(
    settings: Settings, topic: str, *, role: str = _READER, committed: bool = False
) -> dict[int, Stretch]:
    """From the oldest record that is kept to the end, by partition.

    Open transactions count, unless `committed`. `role` is whose group may be named.

    Raises:
        BrokerUnavailableError: no answer.
    """
    isolation = "read_committed" if committed else "read_uncommitted"
    with closing(_consumer(settings, role, isolation=isolation)) as consumer:
        found = {}
        for source in _partitions(consumer, topic):
            low, high = _asked(
                consumer.get_watermark_offsets, source, timeout=_TIMEOUT_S, cached=False
            )
            found[source.partition] = Stretch(low, high)
        return found


def settled(settings: Settings, topic: str, *, role: str = _READER) -> dict[int, Stretch]:
    """The same without open transactions, once those have ended that are open now.

    Kafka ends a transaction in one partition after the other: of what is seen in one, the rest may
    still be on its way in another.

    Raises:
        BrokerUnavailableError: no answer, or a transaction does not end.
    """
    seen, never = bounds(settings, topic, role=role), threading.Event()
    until_s = time.monotonic() + settings.transaction_timeout_s + _STABLE_EXTRA_S
    while True:
        found = bounds(settings, topic, role=role, committed=True)
        if all(found[p].end >= one.end for p, one in seen.items()):
            return found
        if time.monotonic() > until_s:
            raise BrokerUnavailableError(f"{topic}: a transaction hangs in it; see `saec doctor`")
        never.wait(_LOOK_S)


def since(settings: Settings, topic: str, at_ms: int) -> dict[int, Stretch]:
    """From the first record stamped `at_ms` or later to the end, by partition.

    Raises:
        BrokerUnavailableError: no answer.
    """
    return from_instant(settings, topic, at_ms, bounds(settings, topic))


def from_instant(
    settings: Settings, topic: str, at_ms: int, whole: Mapping[int, Stretch]
) -> dict[int, Stretch]:
    """Of these stretches, what begins with the first record stamped `at_ms` or later.

    Raises:
        BrokerUnavailableError: no answer.
    """
    with closing(_consumer(settings, _READER, isolation="read_uncommitted")) as consumer:
        asked = [TopicPartition(topic, partition, at_ms) for partition in whole]
        found = _asked(consumer.offsets_for_times, asked, timeout=_TIMEOUT_S) if asked else []
    first = {source.partition: source.offset for source in found if source.offset >= 0}
    return {p: Stretch(max(one.start, first.get(p, one.end)), one.end) for p, one in whole.items()}


def committed_offsets(
    settings: Settings, role: str, topic: str, *, wait: bool = True
) -> dict[int, int]:
    """What the group of `role` committed, partition -> next offset.

    Waits for the end of transactions that carry offsets of the group, unless told not to: then
    what they carry is not in the answer.

    Raises:
        BrokerUnavailableError: no answer, or such a transaction does not end.
    """
    bound_s = settings.transaction_timeout_s + _STABLE_EXTRA_S if wait else _TIMEOUT_S
    isolation = "read_committed" if wait else "read_uncommitted"
    with closing(_consumer(settings, role, isolation=isolation)) as consumer:
        found = _asked(consumer.committed, _partitions(consumer, topic), timeout=bound_s)
    for source in found:
        if source.error is not None:
            raise BrokerUnavailableError(f"the offsets of {topic}: {source.error}")
    return {source.partition: source.offset for source in found if source.offset >= 0}


def read(
    settings: Settings,
    topic: str,
    wanted: Mapping[int, Stretch],
    *,
    role: str = _READER,
    committed: bool = True,
) -> Iterator[list[Incoming]]:
    """The committed records of these stretches, by partition in order, in pieces of up to 500.

    Unless `committed`, also those that are not, or never will be. `appended_at_ms` is what the
    topic stamps. What cannot be read is among them, `refused`.

    Raises:
        BrokerUnavailableError: an error, or nothing came for longer than a transaction may last.
    """
    left = {partition: stretch.end for partition, stretch in wanted.items() if len(stretch)}
    if not left:
        return
    bound_s = settings.transaction_timeout_s + _STABLE_EXTRA_S
    isolation = "read_committed" if committed else "read_uncommitted"
    stamped = topic in {settings.topics.requests, settings.topics.customers}
    with closing(_consumer(settings, role, isolation=isolation)) as consumer:
        consumer.assign([TopicPartition(topic, p, wanted[p].start) for p in left])
        places = [Place(settings, role, topic, p, wanted[p].start, isolation) for p in left]
        taking = _Taking(consumer, topic, left, Passer(consumer, places), stamped)
        silent_s = 0.0
        while left:
            messages = _asked(consumer.consume, taking.room, _POLL_S)
            yield taking.within(messages)
            silent_s = 0.0 if messages else silent_s + _POLL_S
            if silent_s > bound_s:
                raise BrokerUnavailableError(
                    f"{topic}: nothing came for {bound_s:.0f} s, before the end; a transaction "
                    "may hang in it"
                )


@dataclass(slots=True)
class _Taking:
    """Takes the records of the stretches; takes partitions out of `left` whose end was reached."""

    consumer: Consumer
    topic: str
    left: dict[int, int]
    passer: Passer
    stamped: bool
    largest: int = _PIECE_BYTES

    @property
    def room(self) -> int:
        """How many to take at once, so that a piece is not larger than it needs to be."""
        return max(1, min(_POLL_RECORDS, 2 * _PIECE_BYTES // self.largest))

    def within(self, messages: list[Any]) -> list[Incoming]:
        """The records among what the client gave."""
        taken: list[Incoming] = []
        if messages:
            self.passer.heard()
        else:
            lost = self.passer.silent(_POLL_S, ((self.topic, p) for p in self.left))
            self._take_lost(lost, taken)
        for message in messages:
            self._take(message, taken)
        self.largest = max((weight(record) for record in taken), default=1) + 1
        return taken

    def _take(self, message: Any, taken: list[Incoming]) -> None:
        error = message.error()
        if error is None:
            record = incoming(message, stamped=self.stamped)
            self.passer.took(message)
            self._add(record.partition, record.offset + 1, record, taken)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # The end of the partition also comes past control records, which never arrive.
            self._add(message.partition(), message.offset(), None, taken)
        elif is_unreadable(error):
            self._take_lost(self.passer.past(message), taken)
        elif not error.retriable():
            raise BrokerUnavailableError(f"reading {message.topic()}: {error.str()}")

    def _take_lost(self, lost: list[Incoming], taken: list[Incoming]) -> None:
        for record in lost:
            self._add(record.partition, record.offset + 1, record, taken)

    def _add(self, part: int, reached: int, record: Incoming | None, taken: list[Incoming]) -> None:
        if part not in self.left:
            return
        if record is not None and record.offset < self.left[part]:
            taken.append(record)
        if reached >= self.left[part]:
            del self.left[part]
            self.consumer.pause([TopicPartition(self.topic, part)])


def _consumer(settings: Settings, role: str, *, isolation: str) -> Consumer:
    return clients.consumer(
        settings,
        settings.group_id(role),
        **{
            "isolation.level": isolation,
            "enable.partition.eof": True,
        },
    )


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    listed = _asked(consumer.list_topics, topic, timeout=_TIMEOUT_S).topics[topic]
    if listed.error is not None:
        raise BrokerUnavailableError(f"the partitions of {topic}: {listed.error}")
    return [TopicPartition(topic, partition) for partition in listed.partitions]


def _asked(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except KafkaException as error:
        raise BrokerUnavailableError(f"no answer from Kafka: {error.args[0].str()}") from None
