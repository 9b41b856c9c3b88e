"""Reads any topic as everybody else does: read_committed, in no group, committing nothing.

Owns where reading starts and when it is at the end. Invariant: the end is the watermark as it was
seen at the start (for a whole topic), never a pause in what arrives.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka import clients
from saec.kafka.incoming import incoming, weight
from saec.kafka.records import Incoming
from saec.kafka.unreadable import Passer, Place, is_unreadable
from saec.settings import Settings

_TIMEOUT_S = 10.0
_POLL_RECORDS = 1_000
_FIRST_RECORDS = 100
_PIECE_BYTES = 8_388_608
_WHOLE_POLL_S = 0.2
_SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Beginning:
    """Start at the oldest record that is kept."""


@dataclass(frozen=True, slots=True)
class End:
    """Start with what arrives from now on."""


@dataclass(frozen=True, slots=True)
class Since:
    """Start with the first record whose timestamp is at `at_ms` (epoch milliseconds) or later."""

    at_ms: int


Start = Beginning | End | Since


# What goes away by itself: a broker restarts, or a topic is so new that it has no leader yet.
_PASSING = {
    KafkaError._TRANSPORT,  # noqa: SLF001 - this and the next two: their public names
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
_NO_LEADER = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
_NO_LEADER_PAUSE_S = 0.1

_Place = tuple[str, int]


class Follower:
    """A reader of some topics. Use it as a context manager.

    Raises from anywhere:
        BrokerUnavailableError: no answer.
        ConfigurationError: a topic does not exist.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], start: Start) -> None:
        self._settings = settings
        self._room = _FIRST_RECORDS
        self._passer: Passer
        self._consumer: Consumer = clients.consumer(
            settings, settings.group_id("reader"), **{"enable.partition.eof": True}
        )
        try:
            self._left = self._assign(topics, start)
        except BaseException:
            self._consumer.close()
            raise

    @property
    def at_end(self) -> bool:
        """True once everything was read that stood in the topics when this was made."""
        return not self._left

    def poll(self, timeout_s: float) -> list[Incoming]:
        """What arrives within `timeout_s` seconds; returns early with a piece of up to
        1,000 records.

        `appended_at_ms` is what the topic stamps: the producer's clock for the channel topics.
        """
        received: list[Incoming] = []
        messages = self._translated(self._consumer.consume, self._room, timeout_s)
        if messages:
            self._passer.heard()
        else:
            self._pass(self._passer.silent(timeout_s, self._left), received)
        for message in messages:
            error = message.error()
            place = (message.topic(), message.partition())
            if error is None:
                self._passer.took(message)
                self._reach(place, message.offset() + 1)
                received.append(incoming(message))
            elif is_unreadable(error):
                self._pass(self._passer.past(message), received)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                # Also past the control records, which never arrive as messages.
                self._reach(place, message.offset())
            elif error.code() not in _PASSING:
                raise BrokerUnavailableError(f"reading {place[0]}: {error.str()}")
        largest = max((weight(record) for record in received), default=0) + 1
        self._room = max(1, min(_POLL_RECORDS, _PIECE_BYTES // largest))
        return received

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _pass(self, lost: list[Incoming], received: list[Incoming]) -> None:
        """What could not be read is received as well: `refused`."""
        for record in lost:
            self._reach((record.topic, record.partition), record.offset + 1)
        received += lost

    def _reach(self, place: _Place, offset: int) -> None:
        if offset >= self._left.get(place, offset + 1):
            del self._left[place]

    def _assign(self, topics: Sequence[str], start: Start) -> dict[_Place, int]:
        """Start reading; returns the ends of the partitions that hold something to read."""
        places = self._places(topics)
        ends = {}
        starts = {}
        for place in places:
            low, high = self._translated(
                self._consumer.get_watermark_offsets,
                TopicPartition(*place),
                timeout=_TIMEOUT_S,
                cached=False,
            )
            starts[place] = low if isinstance(start, Beginning) else high
            ends[place] = high
        if isinstance(start, Since):
            starts |= self._since(places, start.at_ms)
        self._consumer.assign([TopicPartition(*place, starts[place]) for place in places])
        self._passer = Passer(
            self._consumer,
            [Place(self._settings, "reader", *place, starts[place]) for place in places],
        )
        return {place: end for place, end in ends.items() if starts[place] < end}

    def _places(self, topics: Sequence[str]) -> list[_Place]:
        known = self._translated(self._consumer.list_topics, timeout=_TIMEOUT_S).topics
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise ConfigurationError(f"topics are missing: {', '.join(missing)}; run `saec init`")
        return [(topic, partition) for topic in topics for partition in known[topic].partitions]

    def _since(self, places: list[_Place], at_ms: int) -> dict[_Place, int]:
        """The offsets of an instant; a partition that holds nothing so young is left out."""
        asked = [TopicPartition(*place, at_ms) for place in places]
        found = self._translated(self._consumer.offsets_for_times, asked, timeout=_TIMEOUT_S)
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def _translated(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        deadline_s = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                return call(*args, **kwargs)
            except KafkaException as error:
                said = error.args[0]
                if said.code() not in _NO_LEADER or time.monotonic() > deadline_s:
                    raise BrokerUnavailableError(
                        f"no answer from Kafka: {said.str()}; check SAEC_BOOTSTRAP_SERVERS"
                    ) from None
            time.sleep(_NO_LEADER_PAUSE_S)


def read_whole(settings: Settings, topics: Sequence[str], start: Start) -> Iterator[Incoming]:
    """Every record from `start` to where the topics end now.

    Raises:
        BrokerUnavailableError: nothing arrived for 30 s although the end was not reached.
    """
    with Follower(settings, topics, start) as follower:
        silent_s = 0.0
        while not follower.at_end:
            received = follower.poll(_WHOLE_POLL_S)
            yield from received
            silent_s = 0.0 if received else silent_s + _WHOLE_POLL_S
            if silent_s > _SILENCE_S:
                raise BrokerUnavailableError("Kafka stopped answering before the topic's end")
