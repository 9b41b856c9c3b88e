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

from saec.errors import BrokerUnavailableError, ConfigurationError, SaecError
from saec.kafka import clients
from saec.settings import Settings, variable

_TIMEOUT_S = 10.0
_SHOWN_POLL_S = 0.02
_DAY_MS = 86_400_000
_SMALL_SEGMENT = 64 * 1024 * 1024
# On top of the value: key, headers and framing of a copy in saec.rejected.
_REJECTED_HEADROOM = 2
# Whatever is accepted fits into it, whatever the cluster's default is; it is Kafka's own default.
_LEAST_BYTES = 1_048_588
COMPRESSION = "compression.type"
_BINDING_BYTES = 10_000
_REFUSED_SETTING = {
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_REQUEST,
}
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
_NO_ANSWER = {
    KafkaError._TIMED_OUT,  # noqa: SLF001 - their public names
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError.REQUEST_TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic is created."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


_Refused = tuple[TopicSpec, KafkaError]


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
            _kept_to_the_day(settings.customers_retention_days) | source,
        ),
        TopicSpec(names.registry, broad, _newest(settings) | roomy),
        *(
            TopicSpec(name, broad, _kept_to_the_day(settings.dispatch_retention_days) | roomy)
            for name in names.dispatch.values()
        ),
        TopicSpec(names.status, broad, _kept_to_the_day(settings.status_retention_days) | roomy),
        TopicSpec(
            names.rejected,
            broad,
            _kept_to_the_day(settings.status_retention_days)
            | {"max.message.bytes": str(max(_LEAST_BYTES, size * _REJECTED_HEADROOM))},
        ),
        TopicSpec(names.ledger, shards, _kept(settings.ledger_retention_days) | roomy),
        *(
            TopicSpec(
                name,
                broad,
                _kept_to_the_day(settings.status_retention_days)
                | source
                # What fits here fits into saec.requests, with the header that is added.
                | {"max.message.bytes": str(size - _BINDING_BYTES)},
            )
            for name in settings.requester_topics
        ),
    ]


def create_missing(settings: Settings, shards: int) -> list[str]:
    """Create the topics that do not exist; returns their names.

    Raises:
        ConfigurationError: a topic has another number of partitions than its readers rely on, or
            the broker refused some: it says which, why, and what to do.
        BrokerUnavailableError: the broker did not answer.
    """
    wanted = specifications(settings, shards)
    admin = clients.admin(settings)
    standing = partition_counts(admin)
    _check_ledger(settings, standing, shards)
    missing = [spec for spec in wanted if spec.name not in standing]
    if not missing:
        return []
    created, refused = _create(admin, settings, missing)
    if refused:
        raise _refusal(settings, created, refused, "Then run `saec init` again.")
    names = {spec.name for spec in wanted}
    _wait_until_shown(lambda: names <= partition_counts(admin).keys())
    return created


def create(settings: Settings, spec: TopicSpec) -> None:
    """Create one topic, unless somebody else just did.

    Raises:
        ConfigurationError: the broker refused.
        BrokerUnavailableError: the broker did not answer.
    """
    admin = clients.admin(settings)
    created, refused = _create(admin, settings, [spec])
    if refused:
        raise _refusal(settings, created, refused, "Then try again.")
    _wait_until_shown(lambda: spec.name in partition_counts(admin))


def _create(
    admin: AdminClient, settings: Settings, wanted: list[TopicSpec]
) -> tuple[list[str], list[_Refused]]:
    """Returns the names of those that were created, and the refusals; asks for each of them."""
    asked = [
        NewTopic(spec.name, spec.partitions, settings.replication_factor, config=spec.config)
        for spec in wanted
    ]
    created, refused, plainer = list[str](), list[_Refused](), list[TopicSpec]()
    futures = admin.create_topics(asked, operation_timeout=_TIMEOUT_S)
    for spec in wanted:
        try:
            futures[spec.name].result()
        except KafkaException as error:
            code = error.args[0].code()
            if code in _REFUSED_SETTING and COMPRESSION in spec.config:
                plainer.append(_without_compression(spec))
            elif code != KafkaError.TOPIC_ALREADY_EXISTS:
                refused.append((spec, error.args[0]))
        else:
            created.append(spec.name)
    again = _create(admin, settings, plainer) if plainer else ([], [])
    return created + again[0], refused + again[1]


def _without_compression(spec: TopicSpec) -> TopicSpec:
    """For a cluster that leaves compression to producers: records are then read with care."""
    config = {name: value for name, value in spec.config.items() if name != COMPRESSION}
    return replace(spec, config=config)


def _refusal(
    settings: Settings, created: list[str], refused: list[_Refused], then: str
) -> SaecError:
    """What was refused, and how each of these topics comes to be all the same."""
    lines = [
        f"Kafka did not create {len(refused)} of {len(refused) + len(created)} missing topics"
        + (f" (created: {', '.join(created)}):" if created else ":")
    ]
    for spec, said in refused:
        lines.append(f"  {spec.name}: {said.name()}: {said.str()}")
    if all(said.retriable() or said.code() in _NO_ANSWER for _, said in refused):
        return BrokerUnavailableError("\n".join(lines))
    if any(said.code() not in _NOT_ALLOWED for _, said in refused):
        lines.append("If a number is not allowed there, these settings choose them:")
        chosen = [line for spec, _ in refused for line in _settings_of(settings, spec)]
        lines += [f"  {line}" for line in dict.fromkeys(chosen)]
    lines.append("Or have whoever may do so create them, with these settings or the like:")
    lines += [f"  {command(settings, spec)}" for spec, _ in refused]
    return ConfigurationError("\n".join([*lines, then]))


def command(settings: Settings, spec: TopicSpec) -> str:
    """The command of Kafka's own tool that creates a topic as SAEC would."""
    replicas = settings.replication_factor
    parts = [f"kafka-topics.sh --create --topic {spec.name} --partitions {spec.partitions}"]
    parts += [f"--replication-factor {replicas}"] if replicas > 0 else []
    return " ".join([*parts, *(f"--config {k}={value}" for k, value in spec.config.items())])


def _settings_of(settings: Settings, spec: TopicSpec) -> list[str]:
    """The settings that decide how a topic is created, with what they are."""
    names = settings.topics
    kept = {
        names.requests: "requests_retention_days",
        names.status: "status_retention_days",
        names.rejected: "status_retention_days",
        names.ledger: "ledger_retention_days",
        names.customers: "ledger_retention_days",
        **dict.fromkeys(names.dispatch.values(), "dispatch_retention_days"),
    }
    broad = "shards" if spec.name == names.ledger else "partitions"
    chosen = [kept[spec.name]] if spec.name in kept else []
    said = [
        f"{variable(name)}, now {getattr(settings, name)}"
        for name in (*chosen, broad, "replication_factor")
    ]
    if spec.name == names.requests:
        horizon = f"{variable('horizon_days')} (now {settings.horizon_days})"
        said[0] += f": it must be longer than {horizon}, which then has to be shorter too"
    return said


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


def _kept_to_the_day(days: int) -> dict[str, str]:
    """Kafka deletes segments, a week long unless told otherwise, when all of one is old enough.

    Of what is kept for years a segment a day would be too many open files.
    """
    return _kept(days) | {"segment.ms": str(_DAY_MS)}


def _newest(settings: Settings) -> dict[str, str]:
    """The newest record of each key; what it replaced is gone within so many days.

    Only closed segments are compacted, so they are small and short.
    """
    return {
        "cleanup.policy": "compact",
        "max.compaction.lag.ms": str(settings.erased_within_days * _DAY_MS),
        "segment.ms": str(_DAY_MS),
        "segment.bytes": str(_SMALL_SEGMENT),
        # An erasure has to be there for whoever reads on after being restored.
        "delete.retention.ms": str(settings.ledger_retention_days * _DAY_MS),
    }
