"""Forwards records of the requesters' own topics to saec.requests, each bound to its requester.

Owns one consumer and one transactional producer. Invariant: a record is there once, with the
consumer offset behind it in the same transaction; it names by a header whose topic it came from,
and has no other header of the kind that only SAEC writes; what it says is not looked at here.
"""

import threading
from collections.abc import Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from saec.clock import Clock
from saec.contracts.headers import OURS, REQUESTER, CopiedHeaders, RawHeaders
from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka import clients
from saec.kafka.intake import GapError, start_offset
from saec.kafka.topics import existing
from saec.kafka.transaction import TransactionalProducer
from saec.outage import Outage, Reminder
from saec.settings import Settings

ROLE = "requesters"
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_CALL_TIMEOUT_S = 30.0
_MOST_RECORDS = 50  # each may be as large as a request, and all of them are in memory
_WAIT_S = 0.2
_QUIET_S = 5.0

_log = structlog.get_logger("saec.requesters")


class Forwarder:
    """The loop of `consumers.requesters`. `run` loops, `run_once` forwards what is there."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Raises ConfigurationError: there are no requesters, or their topics are missing."""
        self._settings = settings
        self._clock = clock
        self._requesters = settings.requester_topics
        if not self._requesters:
            raise ConfigurationError("SAEC_REQUESTERS names no requester: nothing to forward")
        existing(settings, self._requesters)
        self._stop = threading.Event()
        self._outage = Outage(_log, clock, "requests not forwarded")
        self._reminder = Reminder(clock)
        self._gaps: list[str] = []
        self._failures = self._rebalances = self.turns = 0
        self._failure: Exception | None = None
        self._consumer: Any = None
        self._producer: TransactionalProducer | None = None

    @property
    def waits(self) -> str | None:
        """The part that is away; None when none is."""
        return self._outage.waits

    @property
    def trouble(self) -> str | None:
        """Why this loop is not at work; None when it is."""
        stuck = self._outage.trouble
        return None if stuck is None else f"the same records fail, {stuck}"

    def run(self) -> None:
        """Forward until `stop`. Raises ConfigurationError: trying again would not help."""
        while not self._stop.is_set():
            self.turns += 1
            try:
                self.run_once()
                self._failures = 0
                self._outage.over(_QUIET_S)
            except ConfigurationError:
                raise
            except Exception as error:
                self._go_back(error)

    def run_once(self) -> int:
        """Forward what is there; how many records.

        Raises:
            SaecError: they may or may not have been forwarded; those that were not come again.
        """
        if self._consumer is None:
            self._open()
        self._tell_gaps()
        rebalances = self._rebalances
        records = [one for one in self._consumer.consume(_MOST_RECORDS, _WAIT_S) if _is_one(one)]
        # Of this membership: a newer one would let a zombie's transaction pass.
        membership = self._consumer.consumer_group_metadata()
        if self._failure is not None:
            raise self._failure
        if rebalances != self._rebalances:
            self._seek_to_starts()  # some of these are somebody else's by now
            return 0
        if records:
            self._forward(records, membership)
        return len(records)

    def stop(self) -> None:
        """Make `run` return after what it is at; from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Leave the group; what was read and not forwarded comes again."""
        producer, self._producer = self._producer, None
        consumer, self._consumer = self._consumer, None
        if producer is not None:
            producer.discard()
        if consumer is not None:
            consumer.close()

    def _open(self) -> None:
        self._failure, self._gaps = None, []
        self._producer = self._new_producer()
        instance = self._settings.instance
        self._consumer = clients.consumer(
            self._settings,
            self._settings.group_id(ROLE),
            **{
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "partition.assignment.strategy": "range",
                "queued.max.messages.kbytes": 16_384,
                **({"group.instance.id": instance} if instance else {}),
            },
        )
        topics = [*self._requesters]
        self._consumer.subscribe(topics, on_assign=self._assign, on_revoke=self._revoke)

    def _new_producer(self) -> TransactionalProducer:
        largest = self._settings.max_request_bytes + 100_000  # as saec.requests takes them
        return TransactionalProducer(self._settings, ROLE, largest_bytes=largest)

    def _forward(self, records: Sequence[Any], membership: Any) -> None:
        producer = self._producer
        if producer is None:
            producer = self._producer = self._new_producer()
        offsets = {(one.topic(), one.partition()): one.offset() + 1 for one in records}
        producer.begin()
        for one in records:
            requester = self._requesters[one.topic()]
            bound = binding(requester, clients.headers_of(one))
            producer.produce(self._settings.topics.requests, one.value(), one.key(), bound)
        producer.send_offsets(offsets, membership)
        producer.commit()

    def _go_back(self, error: Exception) -> None:
        pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        self._outage.failed(error)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.discard()
        if self._clock.wait(self._stop, pause_s):
            return
        try:
            if self._failure is not None:
                self.close()
            elif self._consumer is not None:
                self._seek_to_starts()
        except Exception as again:
            self._outage.failed(again)
            self.close()

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        self._rebalances += 1
        try:
            consumer.assign(self._starts(consumer, partitions))
        except Exception as error:
            self._failure = error

    def _revoke(self, consumer: Any, _partitions: list[Any]) -> None:
        self._rebalances += 1
        consumer.unassign()

    def _seek_to_starts(self) -> None:
        assigned = self._consumer.assignment()
        if assigned:
            self._consumer.assign(self._starts(self._consumer, assigned))

    def _starts(self, consumer: Any, partitions: list[Any]) -> list[Any]:
        """From where the group is; a partition that lost records before that stands still."""
        starts: list[Any] = []
        self._gaps = []
        for source in consumer.committed(partitions, timeout=_CALL_TIMEOUT_S):
            if source.error is not None:
                raise KafkaException(source.error)
            group = None if source.offset < 0 else source.offset
            oldest, _ = consumer.get_watermark_offsets(source, timeout=_CALL_TIMEOUT_S)
            try:
                at = start_offset(
                    f"{source.topic} partition {source.partition}", group, group, oldest
                )
            except GapError as error:
                self._gaps.append(str(error))
                continue
            starts.append(TopicPartition(source.topic, source.partition, at))
        return starts

    def _tell_gaps(self) -> None:
        self._reminder.keep(self._gaps)
        for why in self._gaps:
            if self._reminder.is_due(why):
                _log.error("partition stopped", error=why)


def binding(requester: str, headers: RawHeaders) -> CopiedHeaders:
    """The headers of a record as it is forwarded: nobody's word for who asks but the topic's."""
    kept = [(name, value) for name, value in headers or () if not name.lower().startswith(OURS)]
    return [*kept, (REQUESTER, requester.encode())]


def _is_one(message: Any) -> bool:
    """True for a record. Errors the client recovers from by itself are passed over."""
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
        raise ConfigurationError(f"{message.topic()}: {error.str()}; was the topic recreated?")
    if error.fatal():
        raise ConfigurationError(
            f"the group refuses this process: {error.str()}; is SAEC_INSTANCE used twice?"
        )
    if not error.retriable():
        raise BrokerUnavailableError(f"reading {message.topic()}: {error.str()}")
    return False
