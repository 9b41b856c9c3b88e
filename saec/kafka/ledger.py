"""Reads the ledger, dispatch's write-ahead log: one partition a shard.

Invariant: a shard is read to the very record that was asked for, or not at all; a time-out is never
the end, because records that are merely late would be taken for batches that never happened.
"""

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from saec.clock import Clock
from saec.contracts.ledger import LedgerRecord, ShardTaken, decode_ledger
from saec.contracts.rejected import RejectedError
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.settings import Settings

_REQUEST_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a ledger partition starts and ends, for readers of each isolation level."""

    start: int
    committed: int
    uncommitted: int

    @property
    def settled(self) -> bool:
        """True when no transaction is open or hanging in the partition."""
        return self.committed == self.uncommitted


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A record of a shard's ledger, and where it stands; None is one that SAEC did not write."""

    offset: int
    record: LedgerRecord | None


class Ledger:
    """The ledger topic of one installation."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._topic = settings.topics.ledger
        self._admin = clients.admin(settings)

    def ends(self, shards: Collection[int]) -> dict[int, Ends]:
        """Start and both ends of each shard's partition.

        Raises:
            BrokerUnavailableError: no answer in time.
        """
        start = self._offsets(shards, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        # The committed end first: what ends in between makes it look open, never closed.
        committed = self._offsets(shards, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        uncommitted = self._offsets(shards, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return {s: Ends(start[s], committed[s], uncommitted[s]) for s in shards}

    def answered_offsets(self) -> dict[int, int]:
        """Up to where requests were answered: partition of saec.requests -> next offset.

        Raises:
            BrokerUnavailableError: no answer in time.
        """
        group = ConsumerGroupTopicPartitions(self._settings.group_id("requests"))
        try:
            (future,) = self._admin.list_consumer_group_offsets(
                [group], request_timeout=_REQUEST_TIMEOUT_S
            ).values()
            partitions = future.result().topic_partitions
        except Exception as error:
            raise BrokerUnavailableError(f"the offsets of the requests: {error}") from None
        topic = self._settings.topics.requests
        return {p.partition: p.offset for p in partitions if p.topic == topic and p.offset >= 0}

    def _offsets(
        self, shards: Collection[int], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[int, int]:
        wanted = {TopicPartition(self._topic, shard): spec for shard in shards}
        try:
            futures = self._admin.list_offsets(
                wanted, isolation_level=isolation, request_timeout=_REQUEST_TIMEOUT_S
            )
            return {tp.partition: future.result().offset for tp, future in futures.items()}
        except Exception as error:
            raise BrokerUnavailableError(f"the ledger's offsets: {error}") from None

    def read(self, starts: Mapping[int, int], attempt: UUID) -> dict[int, list[LedgerEntry]]:
        """Each shard's records from its start up to, and with, the sentinel of `attempt`.

        A shard whose sentinel did not come in time is not in the answer.

        Raises:
            BrokerUnavailableError: the ledger cannot be read.
        """
        found: dict[int, list[LedgerEntry]] = {shard: [] for shard in starts}
        open_ = set(starts)
        deadline_s = self._clock.monotonic_s() + _READ_TIMEOUT_S
        consumer = clients.consumer(self._settings, self._settings.group_id("ledger-reader"))
        with closing(consumer):
            consumer.assign([TopicPartition(self._topic, s, at) for s, at in starts.items()])
            while open_ and self._clock.monotonic_s() < deadline_s:
                message = consumer.poll(1.0)
                if message is None:
                    continue
                if message.error() is not None:
                    raise BrokerUnavailableError(f"reading the ledger: {message.error()}")
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
