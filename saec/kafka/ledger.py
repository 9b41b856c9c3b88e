"""Reads the ledger, dispatch's write-ahead log: one partition a shard.

Invariant: a shard is read to the very record that was asked for, or not at all; a time-out is never
the end, because records that are merely late would be taken for batches that never happened.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from saec.clock import Clock
from saec.contracts.ledger import LedgerRecord, ShardTaken, decode_ledger
from saec.contracts.rejected import RejectedError
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.unreadable import Passer, Place, is_unreadable
from saec.settings import Settings

_READER = "ledger-reader"
_REQUEST_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a ledger partition starts and ends, for readers of each isolation level.

    `in_sync` tells whether all its replicas are at work: else what does not come may be late.
    """

    start: int
    committed: int
    uncommitted: int
    in_sync: bool = True

    @property
    def settled(self) -> bool:
        """True when no transaction is open or hanging in the partition."""
        return self.committed == self.uncommitted


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A record of a shard's ledger, and where it stands; None is one that SAEC did not write."""

    offset: int
    record: LedgerRecord | None


class Look:
    """Asks for offsets, by two consumers that nothing else uses and that are closed soon.

    librdkafka's admin client has calls for this. After an outage of the broker it answers with
    offsets of -1001 and no error, keeps to old leaders, and in the end aborts the process
    (https://github.com/confluentinc/librdkafka/issues/4605).
    """

    def __init__(self, settings: Settings, committed: Consumer, uncommitted: Consumer) -> None:
        self._topics = settings.topics
        self._committed = committed
        self._uncommitted = uncommitted

    def ends(self, shards: Collection[int], *, every: bool = True) -> dict[int, Ends]:
        """Start and both ends of each shard's partition of the ledger.

        Unless `every` is asked for, a partition without a leader is not in the answer: nobody can
        say where it ends.

        Raises:
            BrokerUnavailableError: no answer in time, or no leader of `every` one or of any.
        """
        # First: the client would wait for a leader, and then know nothing of the others either.
        in_sync = self._led(shards)
        away = sorted(set(shards) - in_sync.keys())
        if away and (every or not in_sync):
            raise BrokerUnavailableError(f"the ledger's offsets: no leader for shards {away}")
        start = self._offsets(self._uncommitted, in_sync, OFFSET_BEGINNING)
        # The committed end first: what ends in between makes it look open, never closed.
        committed = self._offsets(self._committed, in_sync, OFFSET_END)
        uncommitted = self._offsets(self._uncommitted, in_sync, OFFSET_END)
        return {s: Ends(start[s], committed[s], uncommitted[s], in_sync[s]) for s in in_sync}

    def _led(self, shards: Collection[int]) -> dict[int, bool]:
        """Those that have a leader, and whether all their replicas are in sync."""
        topic = self._topics.ledger
        try:
            found = self._uncommitted.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise BrokerUnavailableError(f"the partitions of {topic}: {error.args[0]}") from None
        if found.error is not None:
            raise BrokerUnavailableError(f"the partitions of {topic}: {found.error.str()}")
        return {
            shard: len(told.isrs) >= len(told.replicas)
            for shard in shards
            # One that there is not is asked for all the same: the answer says so.
            if (told := found.partitions.get(shard, _NOT_THERE)).leader >= 0
        }

    def _offsets(self, consumer: Consumer, shards: Collection[int], which: int) -> dict[int, int]:
        # A timestamp of -1 or -2 asks for the end or the start.
        wanted = [TopicPartition(self._topics.ledger, shard, which) for shard in shards]
        found = _asked("ledger's offsets", consumer.offsets_for_times, wanted)
        _refuse_errors("ledger's offsets", found)
        offsets = {source.partition: source.offset for source in found}
        unknown = [shard for shard in shards if offsets.get(shard, -1) < 0]
        if unknown:
            raise BrokerUnavailableError(f"the ledger's offsets: no answer for shards {unknown}")
        return offsets


class _NotThere:
    """A partition that the broker does not list."""

    leader = 0
    isrs: tuple[int, ...] = ()
    replicas: tuple[int, ...] = ()


_NOT_THERE = _NotThere()


def _asked(what: str, call: Callable[..., Any], about: Any) -> Any:
    try:
        return call(about, timeout=_REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerUnavailableError(f"the {what}: {error.args[0]}") from None


def _refuse_errors(what: str, found: Collection[TopicPartition]) -> None:
    for source in found:
        if source.error is None:
            continue
        if source.error.code() == KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001
            raise BrokerUnavailableError(
                f"the {what}: there is no partition {source.partition}; was the topic recreated "
                "with fewer partitions?"
            )
        raise BrokerUnavailableError(f"the {what}: {source.error}")


class Ledger:
    """The ledger topic of one installation."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._topic = settings.topics.ledger

    @contextmanager
    def look(self) -> Iterator["Look"]:
        """A look at where things stand. Made anew each time: see `Look`."""
        group = self._settings.group_id("ledger-reader")
        level = {"isolation.level": "read_uncommitted"}
        with (
            closing(clients.consumer(self._settings, group)) as committed,
            closing(clients.consumer(self._settings, group, **level)) as uncommitted,
        ):
            yield Look(self._settings, committed, uncommitted)

    def read(self, starts: Mapping[int, int], attempt: UUID) -> dict[int, list[LedgerEntry]]:
        """Each shard's records from its start up to, and with, the sentinel of `attempt`.

        A shard whose sentinel did not come in time is not in the answer.

        Raises:
            BrokerUnavailableError: the ledger cannot be read.
        """
        found: dict[int, list[LedgerEntry]] = {shard: [] for shard in starts}
        open_ = set(starts)
        deadline_s = self._clock.monotonic_s() + _READ_TIMEOUT_S
        consumer = clients.consumer(self._settings, self._settings.group_id(_READER))
        places = [Place(self._settings, _READER, self._topic, s, at) for s, at in starts.items()]
        passer = Passer(consumer, places)
        with closing(consumer):
            consumer.assign([TopicPartition(self._topic, s, at) for s, at in starts.items()])
            while open_ and self._clock.monotonic_s() < deadline_s:
                message = consumer.poll(1.0)
                if message is None:
                    continue
                if is_unreadable(message.error()):
                    # Nothing of SAEC's: whoever reads the shard's records says so.
                    for lost in passer.past(message):
                        found[lost.partition].append(LedgerEntry(lost.offset, None))
                    continue
                if message.error() is not None:
                    raise BrokerUnavailableError(f"reading the ledger: {message.error()}")
                passer.took(message)
                shard, entry = message.partition(), _entry(message)
                if shard in open_:
                    found[shard].append(entry)
                    if isinstance(entry.record, ShardTaken) and entry.record.attempt == attempt:
                        open_.discard(shard)
        return {shard: entries for shard, entries in found.items() if shard not in open_}


def _entry(message: Any) -> LedgerEntry:
    try:
        return LedgerEntry(message.offset(), decode_ledger(message.value() or b""))
    except RejectedError:
        return LedgerEntry(message.offset(), None)
