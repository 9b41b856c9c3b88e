"""The topics of an installation: what each must be like, and creating those that are missing.

Invariant: a topic that exists is never changed here, but for partitions that the ledger gets when
the number of shards is changed.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka import clients
from saec.settings import Settings

_TIMEOUT_S = 10.0
_SHOWN_POLL_S = 0.02
_DAY_MS = 86_400_000
# On top of the value: key, headers and framing of a copy in saec.rejected.
_REJECTED_HEADROOM = 2
# Whatever is accepted fits into it, whatever the cluster's default is; it is Kafka's own default.
_LEAST_BYTES = 1_048_588
COMPRESSION = "compression.type"
_REFUSED_SETTING = {
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_REQUEST,
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic is created."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def specifications(settings: Settings, shards: int) -> list[TopicSpec]:
    """Every topic of the installation, in the way of a request."""
    names, broad = settings.topics, settings.partitions
    # The append time is what a verdict depends on; the producer's own clock is not to be trusted.
    stamped = {"message.timestamp.type": "LogAppendTime"}
    size = settings.max_request_bytes + 100_000
    # The broker decompresses what arrives: what it cannot read, or what is too large then, is
    # refused to its producer, and never reaches a consumer.
    source = {**stamped, "max.message.bytes": str(size), COMPRESSION: "uncompressed"}
    roomy = {"max.message.bytes": str(_LEAST_BYTES)}
    return [
        TopicSpec(
            names.requests,
            broad,
            _kept(settings.requests_retention_days) | source,
        ),
        TopicSpec(
            names.customers,
            broad,
            {
                "cleanup.policy": "compact",
                # An erasure has to be there for whoever reads on after being restored.
                "delete.retention.ms": str(settings.ledger_retention_days * _DAY_MS),
            }
            | source,
        ),
        *(
            TopicSpec(name, broad, _kept(settings.dispatch_retention_days) | roomy)
            for name in names.dispatch.values()
        ),
        TopicSpec(names.status, broad, _kept(settings.status_retention_days) | roomy),
        TopicSpec(
            names.rejected,
            broad,
            _kept(settings.status_retention_days)
            | {"max.message.bytes": str(max(_LEAST_BYTES, size * _REJECTED_HEADROOM))},
        ),
        TopicSpec(names.ledger, shards, _kept(settings.ledger_retention_days) | roomy),
    ]


def create_missing(settings: Settings, shards: int) -> list[str]:
    """Create the topics that do not exist; returns their names.

    Raises:
        ConfigurationError: a topic has another number of partitions than its readers rely on.
        BrokerUnavailableError: the broker did not answer, or refused.
    """
    wanted = specifications(settings, shards)
    admin = clients.admin(settings)
    standing = partition_counts(admin)
    _check_ledger(settings, standing, shards)
    missing = [spec for spec in wanted if spec.name not in standing]
    if not missing:
        return []
    created = _create(admin, settings, missing)
    names = {spec.name for spec in wanted}
    _wait_until_shown(lambda: names <= partition_counts(admin).keys())
    return created


def create(settings: Settings, spec: TopicSpec) -> None:
    """Create one topic, unless somebody else just did.

    Raises:
        BrokerUnavailableError: the broker did not answer, or refused.
    """
    admin = clients.admin(settings)
    _create(admin, settings, [spec])
    _wait_until_shown(lambda: spec.name in partition_counts(admin))


def _create(admin: AdminClient, settings: Settings, wanted: list[TopicSpec]) -> list[str]:
    """Returns the names of those that were not there."""
    asked = [
        NewTopic(spec.name, spec.partitions, settings.replication_factor, config=spec.config)
        for spec in wanted
    ]
    created, plainer = [], []
    by_name = {spec.name: spec for spec in wanted}
    for name, future in admin.create_topics(asked, operation_timeout=_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            code, spec = error.args[0].code(), by_name[name]
            if code in _REFUSED_SETTING and COMPRESSION in spec.config:
                plainer.append(_without_compression(spec))
            elif code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerUnavailableError(f"creating topic {name}: {error}") from None
        else:
            created.append(name)
    return created + (_create(admin, settings, plainer) if plainer else [])


def _without_compression(spec: TopicSpec) -> TopicSpec:
    """For a cluster that leaves compression to producers: records are then read with care."""
    config = {name: value for name, value in spec.config.items() if name != COMPRESSION}
    return replace(spec, config=config)


def add_ledger_partitions(settings: Settings, shards: int) -> None:
    """Let the ledger have a partition for each of so many shards. They are never taken away again.

    Raises:
        BrokerUnavailableError: the broker did not answer, or refused.
    """
    admin, ledger = clients.admin(settings), settings.topics.ledger
    if ledger_partitions(settings) == shards:
        return
    asked = admin.create_partitions([NewPartitions(ledger, shards)], operation_timeout=_TIMEOUT_S)
    try:
        asked[ledger].result()
    except KafkaException as error:
        raise BrokerUnavailableError(f"creating partitions of {ledger}: {error}") from None
    _wait_until_shown(lambda: partition_counts(admin)[ledger] == shards)


def _wait_until_shown(is_shown: Callable[[], bool]) -> None:
    """A broker shows what the controller created a little later; who starts now would miss it."""
    until_s, never = time.monotonic() + _TIMEOUT_S, threading.Event()
    while not is_shown():
        if time.monotonic() > until_s:
            raise BrokerUnavailableError("the topics were created, but are not shown yet")
        never.wait(_SHOWN_POLL_S)


def partition_counts(admin: AdminClient, timeout_s: float = _TIMEOUT_S) -> dict[str, int]:
    """Every topic the broker shows: name -> number of partitions."""
    try:
        listed = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"no answer from Kafka: {error.args[0].str()}; check SAEC_BOOTSTRAP_SERVERS"
        ) from None
    return {name: len(topic.partitions) for name, topic in listed.topics.items()}


def check(settings: Settings, shards: int) -> None:
    """Refuse to work where a topic is missing or the ledger has another number of partitions.

    Raises:
        ConfigurationError: says what to do.
    """
    _check_ledger(settings, _standing(settings), shards)


def ledger_partitions(settings: Settings) -> int:
    """How many partitions the ledger has, once all topics are seen to be there.

    Raises:
        ConfigurationError: a topic is missing.
        BrokerUnavailableError: no answer.
    """
    return _standing(settings)[settings.topics.ledger]


def existing(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """How many partitions these topics have.

    Raises:
        ConfigurationError: one of them is missing.
        BrokerUnavailableError: no answer.
    """
    counts = partition_counts(clients.admin(settings))
    missing = [name for name in names if name not in counts]
    if missing:
        raise ConfigurationError(f"topics are missing: {', '.join(missing)}; run `saec init`")
    return counts


def _standing(settings: Settings) -> dict[str, int]:
    return existing(settings, settings.topics.all)


def _check_ledger(settings: Settings, standing: dict[str, int], shards: int) -> None:
    partitions = standing.get(settings.topics.ledger, shards)
    if partitions != shards:
        raise ConfigurationError(
            f"{settings.topics.ledger} has {partitions} partitions, the database {shards} shards: "
            "they must be equal; this ledger belongs to another installation"
        )


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS)}
