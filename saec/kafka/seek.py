"""Finds records by where they stand, or by key and instant, without reading whole topics.

Invariant: no group is joined, nothing is committed, and nothing is read outside of the stretches
that were asked for; their ends are known beforehand, so a pause is never taken for an end, and a
transaction that is just being committed is waited for.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    TopicPartition,
    murmur2,
)

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.incoming import incoming
from saec.kafka.records import Incoming
from saec.kafka.unreadable import Passer, Place, is_unreadable
from saec.settings import Settings

_TIMEOUT_S = 10.0
_POLL_S = 0.02
_AGAIN_S = 0.1
# Of a partition that is new, or moves to another broker.
_PASSING = {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - its public name
}
# Kafka looks for transactions that were left open every so often.
_STABLE_EXTRA_S = 20.0


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The offsets from `start` up to, and without, `end`; `oldest` is the oldest offset kept."""

    start: int
    end: int
    oldest: int

    @property
    def cut(self) -> bool:
        """Whether retention may have deleted records that stood here: nothing older is kept."""
        return self.start <= self.oldest and self.oldest > 0


class Seeker:
    """Looks records up, read_committed. Use it as a context manager.

    `records_read` counts what was read so far, found or not.

    Raises from anywhere:
        BrokerUnavailableError: no answer, or not allowed to read.
    """

    def __init__(self, settings: Settings) -> None:
        self.records_read = 0
        self._settings = settings
        self._partitions: dict[str, list[Partition]] = {}
        self._bound_s = settings.transaction_timeout_s + _STABLE_EXTRA_S
        group = settings.group_id("reader")
        # Offsets as all readers see them: the end marks of a transaction come a little after its
        # producer was told that it is committed.
        level = {"isolation.level": "read_uncommitted"}
        self._lookup: Any = clients.consumer(settings, group, **level)
        self._consumer: Any = clients.consumer(
            settings,
            group,
            **{
                "enable.partition.eof": True,
                # The end of a partition is only told when a fetch came back empty.
                "fetch.wait.max.ms": 20,
            },
        )

    def partitions(self, topic: str) -> list[Partition]:
        """Every partition of a topic, as many as it has now."""
        if topic not in self._partitions:
            listed = _asked(self._lookup.list_topics, topic, timeout=_TIMEOUT_S).topics[topic]
            if listed.error is not None:
                raise BrokerUnavailableError(f"the partitions of {topic}: {listed.error}")
            found = [Partition(topic, number) for number in sorted(listed.partitions)]
            self._partitions[topic] = found
        return self._partitions[topic]

    def partition_of(self, topic: str, key: str) -> Partition:
        """Where SAEC and Java clients put a key, with as many partitions as there are now."""
        return self.of_keys(topic, [key]).pop()

    def of_keys(self, topic: str, keys: Iterable[str]) -> set[Partition]:
        """The partitions of several keys."""
        count = len(self.partitions(topic))
        return {Partition(topic, murmur2(key.encode(), count)) for key in keys}

    def kept(self, places: Iterable[Partition]) -> dict[Partition, Reach]:
        """All that is kept of these partitions."""
        wanted = set(places)
        oldest = self._offsets(wanted, OFFSET_BEGINNING)
        ends = self._offsets(wanted, OFFSET_END)
        return {place: Reach(oldest[place], ends[place], oldest[place]) for place in wanted}

    def between(
        self, places: Iterable[Partition], from_ms: int, to_ms: int | None = None
    ) -> dict[Partition, Reach]:
        """From the first record stamped `from_ms` or later to the first one stamped `to_ms`.

        To the end without `to_ms`, and where nothing is so young.
        """
        kept = self.kept(places)
        starts = self._offsets(kept, from_ms)
        stops = {} if to_ms is None else self._offsets(kept, to_ms)
        found = {}
        for place, whole in kept.items():
            start = _or(starts.get(place), whole.end)
            end = min(_or(stops.get(place), whole.end), whole.end)
            found[place] = Reach(start, max(start, end), whole.oldest)
        return found

    def record(self, place: Partition, offset: int) -> Incoming | None:
        """The record that stands there; None when it is not kept, or there is no such partition."""
        if place not in self.partitions(place.topic):
            return None
        whole = self.kept([place])[place]
        if not whole.start <= offset < whole.end:
            return None
        wanted = {place: Reach(offset, offset + 1, whole.oldest)}
        return next(self.read(wanted), None)

    def read(self, wanted: Mapping[Partition, Reach]) -> Iterator[Incoming]:
        """The committed records of these stretches, of each partition in order.

        `appended_at_ms` is what the topic stamps: the producer's clock, but for saec.requests.
        """
        left = {place: reach.end for place, reach in wanted.items() if reach.start < reach.end}
        if not left:
            return
        self._consumer.assign([TopicPartition(*place, wanted[place].start) for place in left])
        # A partition that was read to its end before is still paused: that outlives an assignment.
        self._consumer.resume([TopicPartition(*place) for place in left])
        self._passer = Passer(
            self._consumer,
            [Place(self._settings, "reader", *place, wanted[place].start) for place in left],
        )
        for record in self._arriving(left):
            self.records_read += 1
            yield record

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()
        self._lookup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _arriving(self, left: dict[Partition, int]) -> Iterator[Incoming]:
        """The records of the stretches, until nothing is left."""
        heard, silent_since_s = False, time.monotonic()
        while left:
            message = _asked(self._consumer.poll, _POLL_S)
            if message is not None:
                heard, silent_since_s = True, time.monotonic()
                self._passer.heard()
                yield from self._taken(message, left)
                continue
            yield from self._passed(self._passer.silent(_POLL_S, left), left)
            if not heard:
                # The client's threads would begin to fetch up to a second later; a question to
                # the same brokers wakes them.
                _asked(self._consumer.offsets_for_times, _ends_of(left), timeout=_TIMEOUT_S)
            if left and time.monotonic() - silent_since_s > self._bound_s:
                topic, number = min(left)
                raise BrokerUnavailableError(
                    f"{topic}/{number}: nothing came for {self._bound_s:.0f} s; a transaction may "
                    "hang in it: `saec doctor` shows that"
                )

    def _taken(self, message: Any, left: dict[Partition, int]) -> Iterator[Incoming]:
        """The record, if it is in its stretch; takes those out of `left` whose end was reached."""
        error, at = message.error(), message.offset()
        place = Partition(message.topic(), message.partition())
        if is_unreadable(error):
            yield from self._passed(self._passer.past(message), left)
        elif error is None:
            self._passer.took(message)
            if at < left.get(place, 0):
                yield incoming(message)
            self._reach(place, at + 1, left)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # The end of the partition also comes past control records, which never arrive.
            self._reach(place, at, left)
        elif not error.retriable() and error.code() not in _PASSING:
            raise BrokerUnavailableError(f"reading {message.topic()}: {error.str()}")

    def _passed(self, lost: list[Incoming], left: dict[Partition, int]) -> Iterator[Incoming]:
        """What could not be read."""
        for record in lost:
            place = Partition(record.topic, record.partition)
            if record.offset < left.get(place, 0):
                yield record
            self._reach(place, record.offset + 1, left)

    def _reach(self, place: Partition, reached: int, left: dict[Partition, int]) -> None:
        if reached >= left.get(place, reached + 1):
            del left[place]
            with suppress(KafkaException):
                self._consumer.pause([TopicPartition(*place)])

    def _offsets(self, places: Iterable[Partition], at_ms: int) -> dict[Partition, int]:
        """The offset of an instant, or of the start or the end, in each; -1: nothing so young."""
        asked = [TopicPartition(*place, at_ms) for place in places]
        if not asked:
            return {}
        until_s = time.monotonic() + _TIMEOUT_S
        while True:
            found = _asked(self._lookup.offsets_for_times, asked, timeout=_TIMEOUT_S)
            failed = next((source for source in found if source.error is not None), None)
            if failed is None:
                return {Partition(tp.topic, tp.partition): tp.offset for tp in found}
            if failed.error.code() not in _PASSING or time.monotonic() > until_s:
                raise BrokerUnavailableError(f"the offsets of {failed.topic}: {failed.error}")
            time.sleep(_AGAIN_S)


def _ends_of(places: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*place, OFFSET_END) for place in places]


def _or(offset: int | None, end: int) -> int:
    return end if offset is None or offset < 0 else offset


def _asked(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    until_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return call(*args, **kwargs)
        except KafkaException as error:
            said = error.args[0]
            if said.code() not in _PASSING or time.monotonic() > until_s:
                raise BrokerUnavailableError(f"no answer from Kafka: {said.str()}") from None
        time.sleep(_AGAIN_S)
