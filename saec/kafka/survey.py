"""What can be seen of the brokers, topics and groups of an installation, without changing anything.

Invariant: nothing is written, joined or committed; what may not be seen is an error, never nothing.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.ledger import Ends
from saec.kafka.versions import Versions
from saec.settings import Settings

_TIMEOUT_S = 10.0
# What Kafka itself keeps transactions and groups in.
INTERNAL_TOPICS = ("__transaction_state", "__consumer_offsets")

_TRY_S = 2.0
_AGAIN_S = 0.1
# Of a topic or a group that is new, or moves to another broker.
_PASSING = {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,  # noqa: SLF001 - its public name
}

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it stands. Of its partitions, the fewest replicas, and the fewest in sync.

    `config` has what the broker reports: not every broker knows every setting.
    """

    name: str
    partitions: int
    replicas: int
    in_sync: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group: its members, what is assigned to them, and what they committed."""

    members: int
    assigned: frozenset[Place]
    offsets: Mapping[Place, int]


class Survey:
    """Looks at one cluster, from the side of one installation.

    Raises from anywhere:
        BrokerUnavailableError: no answer, or not allowed to see it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._heard = Versions()
        self._admin: AdminClient = clients.admin(
            settings,
            **{
                "logger": self._heard.logger(),
                "debug": "feature",
                "enable.sparse.connections": False,
            },
        )

    def api_versions(self) -> dict[str, dict[str, int]]:
        """Of each broker that said so, `host:port`: name of an API -> its highest version.

        A client learns what a broker speaks, not which release it is.
        """
        brokers = len(self._cluster.brokers)
        never, waited_s = threading.Event(), 0.0
        while len(self._heard.versions) < brokers and waited_s < _TIMEOUT_S:
            self._admin.poll(0.05)  # it tells its log only when polled
            never.wait(0.01)
            waited_s += 0.06
        return self._heard.versions

    def of_4_3(self) -> list[str]:
        """The brokers that are Kafka 4.3 or later, of those that told."""
        return self._heard.of_4_3()

    @cached_property
    def topics(self) -> dict[str, TopicState]:
        """The topics of the installation, and Kafka's own, that exist: name -> state."""
        listed = self._cluster.topics
        wanted = (*self._settings.all_topics, *INTERNAL_TOPICS)
        names = [name for name in wanted if name in listed]
        ours = [name for name in names if name not in INTERNAL_TOPICS]
        states = self._configs(ours)
        for name in set(names) - set(ours):
            # Whoever runs the broker for others may show its own topics to nobody.
            with suppress(BrokerUnavailableError):
                states |= self._configs([name])
        return {name: _state(listed[name], states.get(name, {})) for name in names}

    def _configs(self, names: list[str]) -> dict[str, Any]:
        asked = {ConfigResource(ResourceType.TOPIC, name): name for name in names}
        if not asked:
            return {}
        found = _answers(lambda: self._admin.describe_configs(list(asked), request_timeout=_TRY_S))
        return {asked[resource]: config for resource, config in found.items()}

    def group(self, role: str) -> GroupState:
        """The consumer group of one kind of process."""
        name = self._settings.group_id(role)
        return GroupState(*self._members(name), self._offsets_of(name))

    def ends(self, topics: Iterable[str]) -> dict[Place, Ends]:
        """Start and both ends of every partition of these topics."""
        places = [(t, p) for t in topics for p in self._cluster.topics[t].partitions]
        start = self._offsets(places, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        # The committed end first: what ends in between makes it look open, never closed.
        committed = self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        end = self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return {p: Ends(start[p].offset, committed[p].offset, end[p].offset) for p in places}

    def newest_ms(self, topic: str) -> int | None:
        """The latest timestamp among the records of a topic; None when it is empty."""
        places = [(topic, p) for p in self._cluster.topics[topic].partitions]
        found = self._offsets(places, OffsetSpec.max_timestamp(), IsolationLevel.READ_UNCOMMITTED)
        return max((info.timestamp for info in found.values() if info.timestamp >= 0), default=None)

    @cached_property
    def _cluster(self) -> Any:
        try:
            return self._admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            self._admin.poll(0.1)  # it tells its log only when polled
            why = self._heard.complaint or error.args[0].str()
            raise BrokerUnavailableError(
                f"no answer from Kafka: {why}; check SAEC_BOOTSTRAP_SERVERS and SAEC_KAFKA"
            ) from None

    def _members(self, group: str) -> tuple[int, frozenset[Place]]:
        found = _answers(
            lambda: self._admin.describe_consumer_groups([group], request_timeout=_TRY_S)
        )
        members = found[group].members
        assigned = (tp for member in members for tp in member.assignment.topic_partitions)
        return len(members), frozenset((tp.topic, tp.partition) for tp in assigned)

    def _offsets_of(self, group: str) -> dict[Place, int]:
        asked = [ConsumerGroupTopicPartitions(group)]
        found = _answers(
            lambda: self._admin.list_consumer_group_offsets(asked, request_timeout=_TRY_S)
        )
        partitions = found[group].topic_partitions
        return {(tp.topic, tp.partition): tp.offset for tp in partitions if tp.offset >= 0}

    def _offsets(self, places: list[Place], spec: Any, isolation: Any) -> dict[Place, Any]:
        asked = {TopicPartition(*place): spec for place in places}
        if not asked:
            return {}
        found = _answers(
            lambda: self._admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=_TRY_S
            )
        )
        return {(tp.topic, tp.partition): info for tp, info in found.items()}


def _state(listed: Any, config: Mapping[str, Any]) -> TopicState:
    partitions = listed.partitions.values()
    return TopicState(
        listed.topic,
        len(partitions),
        min((len(partition.replicas) for partition in partitions), default=0),
        min((len(partition.isrs) for partition in partitions), default=0),
        {name: entry.value for name, entry in config.items() if entry.value is not None},
    )


def _answers(ask: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
    """What was answered to each thing asked; asked again where Kafka is not ready for it yet."""
    until_s, never = time.monotonic() + _TIMEOUT_S, threading.Event()
    while True:
        try:
            return {about: future.result() for about, future in ask().items()}
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > until_s:
                raise _translated(error) from None
        never.wait(_AGAIN_S)


def _translated(error: KafkaException) -> BrokerUnavailableError:
    said = error.args[0]
    return BrokerUnavailableError(f"Kafka: {said.name()}: {said.str()}")
