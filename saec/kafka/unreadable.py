"""Records that the client library cannot decompress or parse, and what stands behind them.

Kafka keeps such records: it looks at them compressed, and its own library reads more than this one.
This one says so for the same offset for ever, or (bytes missing at the end of a batch) not at all.
Invariant: an offset is passed over only where the library itself says that it cannot read it; what
is slow, or away, is never taken for that.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from saec.errors import BrokerUnavailableError, Reason
from saec.kafka import clients
from saec.kafka.records import Incoming
from saec.settings import Settings

_UNREADABLE = {
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - these two: their public names
    KafkaError._BAD_MSG,  # noqa: SLF001
}
_POLL_S = 0.1
_TRIES = 100
_SILENT_S = 10.0
_ASK_AGAIN_S = 10.0
_MOST_AT_ONCE = 5_000
_SKIPPED = re.compile(r"Skip offset (\d+) ")
# Said when a batch ends before its records do: it is fetched again, for ever.
_ENDS_EARLY = "Read underflow"

_log = structlog.get_logger("saec.kafka")


def is_unreadable(error: Any) -> bool:
    """Whether the client says that it cannot read what stands at this offset."""
    return error is not None and error.code() in _UNREADABLE


@dataclass(frozen=True, slots=True)
class Place:
    """An offset of a partition, and whose group may be named by who reads there."""

    settings: Settings
    role: str
    topic: str
    partition: int
    offset: int
    isolation: str = "read_committed"

    def at(self, offset: int) -> "Place":
        """Another offset of the same partition."""
        return replace(self, offset=offset)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What reading at an offset came to; `base` is where the batch begins, if that was said."""

    unreadable: bool
    base: int | None = None


def end_of(place: Place) -> int | None:
    """Up to where nothing can be read from here on; None where something can, or nothing is there.

    Batches are read whole, from any offset in them: so the end of one is searched for by halves.

    Raises:
        BrokerUnavailableError: nothing was heard of it in time.
    """
    first = _look(place)
    if not first.unreadable:
        return None
    low, step = place.offset, 1
    while True:  # the end is behind `low`
        high = low + step
        seen = _look(place.at(high))
        if _is_another(first, seen):
            break
        low, step = high, step * 2
    high = _nearer(high, seen)
    while high - low > 1:
        middle = (low + high) // 2
        seen = _look(place.at(middle))
        if _is_another(first, seen):
            high = min(high, _nearer(middle, seen))
        else:
            low = middle
    _log.warning(
        "records unreadable",
        topic=place.topic,
        partition=place.partition,
        offsets=[place.offset, high - 1],
    )
    return high


def refused(place: Place, end: int) -> Iterator[Incoming]:
    """What stands from `place` up to `end`, as records of which nothing is known."""
    for offset in range(place.offset, end):
        yield Incoming(
            place.topic, place.partition, offset, 0, None, None, None, Reason.UNREADABLE_RECORD
        )


def _is_another(first: _Seen, seen: _Seen) -> bool:
    """Whether it is of another batch than the one that cannot be read."""
    return not seen.unreadable or seen.base != first.base


def _nearer(offset: int, seen: _Seen) -> int:
    """Where the batch begins that was seen from `offset`: it may be before it."""
    return offset if seen.base is None else min(offset, seen.base)


class _Heard(logging.Handler):
    """What the client says of a batch in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.base: int | None = None
        self.ends_early = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one line."""
        text = record.getMessage()
        if skipped := _SKIPPED.search(text):
            offset = int(skipped[1])
            self.base = offset if self.base is None else min(self.base, offset)
        elif _ENDS_EARLY in text:
            self.ends_early = True


def _look(place: Place) -> _Seen:
    """Read at an offset until something is known of it."""
    heard = _Heard()
    logger = logging.Logger("saec.kafka.unreadable", logging.DEBUG)
    logger.addHandler(heard)
    consumer = clients.consumer(
        place.settings,
        place.settings.group_id(place.role),
        **{
            "logger": logger,
            "debug": "fetch,msg",
            "enable.partition.eof": True,
            "isolation.level": place.isolation,
        },
    )
    with closing(consumer):
        consumer.assign([TopicPartition(place.topic, place.partition, place.offset)])
        for _ in range(_TRIES):
            message = consumer.poll(_POLL_S)
            seen = _seen(message, heard)
            if seen is not None:
                return seen
    raise BrokerUnavailableError(
        f"{place.topic}/{place.partition}: nothing was heard of offset {place.offset}"
    )


def _seen(message: Any, heard: _Heard) -> _Seen | None:
    error = None if message is None else message.error()
    if is_unreadable(error):
        return _Seen(unreadable=True, base=message.offset())
    if message is not None and (
        error is None or error.code() in {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}  # noqa: SLF001
    ):
        return _Seen(unreadable=False)
    if heard.ends_early:
        return _Seen(unreadable=True, base=heard.base)
    return None


class Passer:
    """Gets a consumer that is in no group past what it cannot read."""

    def __init__(self, consumer: Any, starts: Iterable[Place]) -> None:
        self._consumer = consumer
        self._next = {(place.topic, place.partition): place for place in starts}
        self._silent_s = 0.0
        self._ask_at_s = _SILENT_S

    def took(self, message: Any) -> None:
        """A record was read."""
        key = message.topic(), message.partition()
        if key in self._next:
            self._next[key] = self._next[key].at(message.offset() + 1)

    def past(self, message: Any) -> list[Incoming]:
        """What stands where the client says that it cannot read, refused."""
        place = self._next.get((message.topic(), message.partition()))
        return [] if place is None else self._past(place.at(max(place.offset, message.offset())))

    def heard(self) -> None:
        """Something came."""
        self._silent_s, self._ask_at_s = 0.0, _SILENT_S

    def silent(self, waited_s: float, left: Iterable[tuple[str, int]]) -> list[Incoming]:
        """Nothing came again: now and then those that are left are asked whether they can be read.

        The client says nothing of batches that end early.
        """
        self._silent_s += waited_s
        if self._silent_s < self._ask_at_s:
            return []
        self._ask_at_s += _ASK_AGAIN_S
        found = []
        for key in list(left):
            with suppress(BrokerUnavailableError):  # slow, or away: who reads says so
                found += self._past(self._next[key])
        return found

    def _past(self, place: Place) -> list[Incoming]:
        end = end_of(place)
        if end is None:
            return []
        end = min(end, place.offset + _MOST_AT_ONCE)
        try:
            self._consumer.seek(TopicPartition(place.topic, place.partition, end))
        except KafkaException as error:
            raise BrokerUnavailableError(f"reading {place.topic}: {error.args[0].str()}") from None
        self._next[place.topic, place.partition] = place.at(end)
        return list(refused(place, end))
