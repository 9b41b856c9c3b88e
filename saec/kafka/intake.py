"""Reads a source topic in batches, and answers each batch exactly once.

Owns one consumer and one transactional producer. Invariant: a batch's answers and its consumer
offsets become visible together, after the caller stored the batch; a partition starts where both
the group and the store know it, or not at all.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from saec.clock import SystemClock
from saec.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    SaecError,
    StoreUnavailableError,
)
from saec.kafka import clients, standing, unreadable
from saec.kafka.copies import Copies
from saec.kafka.incoming import Portion, incoming
from saec.kafka.records import Incoming, Outgoing
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.outage import Reminder
from saec.settings import Settings

_CALL_TIMEOUT_S = 30.0
_BATCH_BYTES = 16 * 1024 * 1024
# A partition that stands so long where there is more is looked at: can it be read on?
_STILL_S = 30.0
_LOOK_S = 1.0
_TOO_LARGE = "MSG_SIZE_TOO_LARGE"

_FIRST_WAIT_S = 0.5

_log = structlog.get_logger("saec.ingest")


class GapError(SaecError):
    """Records were deleted before they were read."""


class Positions(Protocol):
    """The next offset of each partition as the store holds it: partition -> offset."""

    def read(self) -> Mapping[int, int]:
        """What was saved."""
        ...

    def save(self, next_offsets: Mapping[int, int]) -> None:
        """Save where partitions begin that were never read before."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as they were read, and the membership that they may be answered under."""

    records: Sequence[Incoming]
    full: bool
    """As large as a batch may be: more is probably waiting behind it."""
    membership: Any = None
    rebalances: int = 0
    epochs: Mapping[int, int] = field(default_factory=dict)
    """Of each partition, the leader's epoch in which the last of its records was written."""

    @property
    def next_offsets(self) -> dict[int, int]:
        """The next offset of each partition that it has records of."""
        return {record.partition: record.offset + 1 for record in self.records}


class Intake:
    """One member of the group that reads a source topic."""

    def __init__(self, settings: Settings, role: str, topic: str, positions: Positions) -> None:
        self._settings = settings
        self._role = role
        self._topic = topic
        self._positions = positions
        self._failure: Exception | None = None
        self._unplaced: StoreUnavailableError | None = None
        self._rebalances = 0
        self._gaps: dict[int, str] = {}
        # Where each partition is read on; since when it stands there while there is more, and up to
        # where that went when it was looked at.
        self._next: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._still: dict[int, tuple[int, float, int]] = {}
        self._look_again_s = 0.0
        # The broker refused an answer for its size: the next ones come without what was copied.
        self._too_large = False
        self._reminder = Reminder(SystemClock())
        positions.read()  # first: while the store is away, no transactional id is used up
        self._copies = Copies(settings, role)
        static = {"group.instance.id": settings.instance} if settings.instance else {}
        self._consumer = clients.consumer(
            settings,
            settings.group_id(role),
            **{
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "partition.assignment.strategy": "range",
                "statistics.interval.ms": standing.EVERY_MS,
                "stats_cb": standing.Standing(topic).heard,
                "enable.partition.eof": True,
                **static,
            },
        )
        self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke)

    def read(self, *, ahead: bool = False) -> Batch:
        """The next batch; empty when nothing came within half a second, or the group changed.

        With `ahead` nothing is waited for: a batch in hand, which is not answered yet, waits for
        this one. `holds` then tells whether it may still be answered.

        Raises:
            ConfigurationError: this topic cannot be read on; says what to do.
            BrokerUnavailableError: the broker failed; rewind.
        """
        self._tell_gaps()
        first_s, more_s = (
            (0.0, 0.0) if ahead else (_FIRST_WAIT_S, self._settings.ingest_wait_ms / 1000)
        )
        portion = self._portion()
        portion.add(self._checked(self._consumer.consume(1, first_s)))
        # The batch belongs to this membership; a newer one would let a zombie's answer pass.
        membership = self._consumer.consumer_group_metadata()
        rebalances = self._rebalances
        portion.add(self._stuck())
        while portion.records and (room := portion.room):
            more = self._consumer.consume(room, more_s)
            portion.add(self._checked(more))
            if len(more) < room:
                break
        if self._rebalances != rebalances:
            # Some of these are somebody else's by now, and all of them will be read again.
            self._seek_to_starts()
            return Batch((), full=False)
        epochs = dict(self._epochs)
        return Batch(portion.records, portion.room == 0, membership, rebalances, epochs)

    @property
    def _producer(self) -> TransactionalProducer:
        return self._copies.producer

    def holds(self, batch: Batch) -> bool:
        """Whether its partitions are held as when it was read; if not, it is read again."""
        return batch.rebalances == self._rebalances

    def rewind(self) -> None:
        """After a batch failed: the partitions from where they are committed.

        Stays in the group: leaving it would disturb the other members' batches as well. What it
        was in doubt with is made anew, once the store answers.

        Raises:
            StoreUnavailableError: not yet; rewind again before anything is read.
            SaecError: that is not possible; close this intake and open another.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._positions.read()
        except StoreUnavailableError:
            self._stay()
            raise
        if not self._producer.is_clean:
            self._producer.discard()
            self._copies = Copies(self._settings, self._role)
            if self._too_large:
                self._copies.bare()
        self._seek_to_starts()
        self._unplaced = None

    def answer(
        self,
        batch: Batch,
        answers: Iterable[Outgoing],
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        """Publish the answers to a batch that is held, with its offsets.

        `confirm` is asked as late as possible; what it raises keeps the answers back.

        Raises:
            InDoubtError: unknown whether it was done; the batch will come again.
        """
        offsets = {(self._topic, partition): at for partition, at in batch.next_offsets.items()}
        epochs = {(self._topic, partition): epoch for partition, epoch in batch.epochs.items()}
        try:
            self._producer.begin()
            for record in answers:
                self._copies.publish(record)
            self._producer.send_offsets(offsets, batch.membership, epochs)
            confirm()
            self._producer.commit()
        except InDoubtError as error:
            self._too_large = _TOO_LARGE in str(error)
            raise

    def close(self) -> None:
        """Leave the group; what was read and not answered comes again."""
        self._producer.discard()
        self._consumer.close()

    def _portion(self) -> Portion:
        chosen = self._settings
        return Portion(
            chosen.ingest_batch_records,
            _BATCH_BYTES,
            chosen.most_copied_bytes,
            chosen.max_request_bytes,
        )

    def _checked(self, messages: list[Any]) -> Iterator[Incoming]:
        failure = self._failure or self._unplaced
        if failure is not None:
            raise failure
        for message in messages:
            error = message.error()
            if error is None:
                record = incoming(message, stamped=True)
                self._next[record.partition] = record.offset + 1
                self._note_epoch(record.partition, message.leader_epoch())
                yield record
            elif unreadable.is_unreadable(error):
                start = max(message.offset(), self._next.get(message.partition(), 0))
                yield from self._passed_over(self._place(message.partition(), start))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                self._next[message.partition()] = message.offset()
            else:
                _refuse_lasting(message)

    def _stuck(self) -> Iterator[Incoming]:
        """What the client cannot read without saying so: now and then it is asked in a new way."""
        now_s = time.monotonic()
        if now_s < self._look_again_s:
            return
        self._look_again_s = now_s + _LOOK_S
        for partition, at in dict(self._next).items():
            place = self._place(partition, at)
            end = self._consumer.get_watermark_offsets(_source(place), cached=True)[1]
            if at >= end:
                self._still.pop(partition, None)
                continue
            stands_at, since_s, looked_at = self._still.get(partition, (-1, now_s, -1))
            if stands_at != at:
                self._still[partition] = (at, now_s, -1)
            elif end != looked_at and now_s - since_s >= _STILL_S:
                # Again when more came meanwhile, and not before.
                self._still[partition] = (at, now_s, end)
                with suppress(BrokerUnavailableError):  # slow, or away: that is told elsewhere
                    yield from self._passed_over(place)

    def _passed_over(self, place: unreadable.Place) -> Iterator[Incoming]:
        """The offsets from here that cannot be read, as refused records; reading goes on behind."""
        end = unreadable.end_of(place)
        if end is None:
            return
        end = min(end, place.offset + self._settings.ingest_batch_records)
        try:
            self._consumer.seek(_source(place.at(end)))
        except KafkaException as error:
            raise _translated(error) from None
        self._next[place.partition] = end
        self._note_epoch(place.partition, None)  # that of an earlier record would be too old
        yield from unreadable.refused(place, end)

    def _note_epoch(self, partition: int, epoch: int | None) -> None:
        self._epochs.pop(partition, None)
        if epoch is not None:
            self._epochs[partition] = epoch

    def _place(self, partition: int, offset: int) -> unreadable.Place:
        return unreadable.Place(self._settings, self._role, self._topic, partition, offset)

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        """Start each partition; a failure is raised by `read`, outside of the client's callback."""
        self._rebalances += 1
        self._gaps = {}
        try:
            consumer.assign(self._starts(consumer, partitions))
        except StoreUnavailableError as error:
            self._unplaced = error
            consumer.assign([TopicPartition(p.topic, p.partition, OFFSET_END) for p in partitions])
        except Exception as error:
            self._failure = _translated(error)

    def _revoke(self, consumer: Any, _partitions: list[Any]) -> None:
        self._rebalances += 1
        self._next = {}
        consumer.unassign()

    def _stay(self) -> None:
        """Remain a member, and read nothing; whatever comes is read again after `rewind`."""
        with suppress(KafkaException):
            self._consumer.pause(self._consumer.assignment())
        self._consumer.consume(1, 0.0)

    def _seek_to_starts(self) -> None:
        try:
            assigned = self._consumer.assignment()
            if assigned:
                starts = self._starts(self._consumer, assigned)
                self._consumer.assign(starts)
                self._consumer.resume(starts)
        except KafkaException as error:
            raise _translated(error) from None

    def _starts(self, consumer: Any, partitions: list[Any]) -> list[Any]:
        saved = self._positions.read()
        committed = consumer.committed(partitions, timeout=_CALL_TIMEOUT_S)
        starts, new = [], []
        for source in committed:
            if source.error is not None:
                raise KafkaException(source.error)
            group = None if source.offset < 0 else source.offset
            oldest, _ = consumer.get_watermark_offsets(source, timeout=_CALL_TIMEOUT_S)
            name = f"{source.topic} partition {source.partition}"
            try:
                at = start_offset(name, group, saved.get(source.partition), oldest)
            except GapError as error:
                # Only this partition stands still; what would be read on had lost its beginning.
                self._gaps[source.partition] = str(error)
                continue
            # With the epoch the client notices that the partition lost what was read, when it went
            # on with other records since.
            epoch = source.leader_epoch if at == group else None
            starts.append(clients.position(source.topic, source.partition, at, epoch))
            if group is None:
                new.append(starts[-1])
        if new:
            # So that the group never knows nothing while the store knows something: what is
            # stored but not yet answered would be passed over. The store first, as always.
            self._positions.save({source.partition: source.offset for source in new})
            consumer.commit(offsets=new, asynchronous=False)
        self._next = {source.partition: source.offset for source in starts}
        self._epochs = {}
        self._still = {}
        return starts

    def _tell_gaps(self) -> None:
        """Say which partitions stand still: at first sight, and every ten minutes."""
        self._reminder.keep(self._gaps.values())
        for why in self._gaps.values():
            if self._reminder.is_due(why):
                _log.error("partition stopped", error=why)


def start_offset(name: str, group: int | None, saved: int | None, oldest: int) -> int:
    """Where to start a partition: never behind what was stored, never over a gap.

    Raises:
        ConfigurationError: the store went back in time.
        GapError: retention passed the position.
    """
    if group is not None and (saved is None or saved < group):
        raise ConfigurationError(
            f"{name}: the database knows it up to {saved}, the group up to {group}: the database "
            "went back in time; stop everything and run `saec recover`: see docs/operations.md, "
            "After a restore"
        )
    start = group if group is not None else saved
    if start is None:
        return oldest
    if start < oldest:
        raise GapError(
            f"{name}: offsets {start} to {oldest - 1} were deleted before they were read; "
            "lengthen the topic's retention, and have the requesters send those again"
        )
    return start


def _refuse_lasting(message: Any) -> None:
    """Errors that the client recovers from by itself are passed over."""
    error = message.error()
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
        raise ConfigurationError(
            f"{message.topic()}: {error.str()}; was the topic recreated? Or it lost records: see "
            "docs/operations.md, Why a process stops"
        )
    if error.fatal():
        raise ConfigurationError(
            f"the group of {message.topic()} refuses this process: {error.str()}; "
            "is SAEC_INSTANCE used twice?"
        )
    if not error.retriable():
        raise BrokerUnavailableError(f"reading {message.topic()}: {error.str()}")


def _source(place: unreadable.Place) -> TopicPartition:
    return TopicPartition(place.topic, place.partition, place.offset)


def _translated(error: Exception) -> Exception:
    return BrokerUnavailableError(str(error)) if isinstance(error, KafkaException) else error
