"""Divides the shards among the workers: a consumer group over the partitions of the ledger.

Owns the group membership. The partitions are paused; the group only assigns. Invariant: the
handler of a revocation has returned before the group gives the shards to anybody else.
"""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from saec.errors import SaecError
from saec.kafka import clients
from saec.settings import Settings

Shards = frozenset[int]

SESSION_MS = 6_000
"""After how long without a sign of a worker its shards go to others."""
_MISSING_BOUND_S = 30.0
_ASK_TIMEOUT_S = 10.0


class MembershipError(SaecError):
    """This worker cannot be a member of the group; trying again would not help."""


class Membership:
    """This worker's place in the group.

    `on_revoked` is called, from `poll`, while the shards still belong to this worker;
    `on_lost` when they belong to others already.
    """

    def __init__(
        self,
        settings: Settings,
        on_revoked: Callable[[Shards], None],
        on_lost: Callable[[Shards], None],
    ) -> None:
        self.assigned: set[int] = set()
        self.missing_bound_s = _MISSING_BOUND_S
        self._topic = settings.topics.ledger
        self._missing_since_s: float | None = None
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        static = {"group.instance.id": settings.instance} if settings.instance else {}
        self._consumer = clients.consumer(
            settings,
            settings.group_id("dispatch"),
            **{
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 500,
                "partition.assignment.strategy": "range",
                "group.protocol": "classic",
                **static,
            },
        )
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._assign,
            on_revoke=self._revoke,
            on_lost=self._lose,
        )

    def poll(self, timeout_s: float) -> None:
        """Stay in the group; calls the handlers when the assignment changes.

        Raises:
            MembershipError: the group refuses this worker.
        """
        message = self._consumer.poll(timeout_s)
        error = message.error() if message is not None else None
        if error is not None and error.code() in _MISSING:
            self._missing_since_s = self._missing_since_s or time.monotonic()
        elif error is not None and (error.fatal() or error.code() in _HOPELESS):
            raise _refused(error)
        if self._missing_since_s is not None:
            self._look_for_the_ledger(self._missing_since_s)

    def _look_for_the_ledger(self, since_s: float) -> None:
        """A broker that just started may say for a moment that there is no such topic."""
        if time.monotonic() - since_s < self.missing_bound_s:
            return
        self._missing_since_s = None
        try:
            found = self._consumer.list_topics(self._topic, _ASK_TIMEOUT_S).topics[self._topic]
        except KafkaException:
            self._missing_since_s = time.monotonic()  # nobody says so any more, nor otherwise
            return
        if found.error is not None and found.error.code() in _MISSING:
            raise _refused(found.error)

    def close(self) -> None:
        """Leave the group; calls `on_revoked` first."""
        self._consumer.close()

    def _assign(self, consumer: Consumer, partitions: list[Any]) -> None:
        self.assigned = {partition.partition for partition in partitions}
        parked = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in partitions]
        consumer.assign(parked)
        consumer.pause(parked)

    def _revoke(self, consumer: Consumer, partitions: list[Any]) -> None:
        self.assigned = set()
        self._on_revoked(frozenset(partition.partition for partition in partitions))
        consumer.unassign()

    def _lose(self, consumer: Consumer, partitions: list[Any]) -> None:
        self.assigned = set()
        self._on_lost(frozenset(partition.partition for partition in partitions))
        consumer.unassign()


def _refused(error: KafkaError) -> MembershipError:
    return MembershipError(f"the dispatch group: {error.str()}; run `saec init`, or check the ACLs")


_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.FENCED_INSTANCE_ID,
}
_MISSING = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001  (the client's public name for "no such topic")
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
