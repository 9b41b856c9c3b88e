"""The topics of an installation are what the documentation promises."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from saec.contracts.events import Channel
from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.installation import check, init
from saec.kafka import clients, fit, topics
from saec.settings import Settings
from tests.altered import alter

TIMEOUT_S = 60
DAY_MS = 86_400_000
SHARDS = 3
PROMISED = (
    "cleanup.policy",
    "retention.ms",
    "message.timestamp.type",
    "max.message.bytes",
    "compression.type",
)
LEAST = "1048588"


@pytest.fixture
def settings(make_installation: Callable[..., Settings]) -> Settings:
    """Where every number differs from every other and from Kafka's defaults."""
    return make_installation(
        shards=SHARDS,
        partitions=2,
        requests_retention_days=5,
        dispatch_retention_days=1,
        status_retention_days=2,
        ledger_retention_days=4,
        customers_retention_days=6,
        max_request_bytes=300_000,
    )


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    """A client that lives as long as what it was asked for."""
    return AdminClient({"bootstrap.servers": settings.bootstrap_servers})


def configurations(
    admin: AdminClient, settings: Settings, without: str = ""
) -> dict[str, tuple[str, ...]]:
    """What the broker says of each topic: topic -> the values of PROMISED."""
    names = [name for name in settings.topics.all if name != without]
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = admin.describe_configs(asked, request_timeout=TIMEOUT_S)
    answers = {resource.name: future.result(TIMEOUT_S) for resource, future in found.items()}
    return {name: tuple(said[key].value for key in PROMISED) for name, said in answers.items()}


def delete(admin: AdminClient, name: str) -> None:
    """Delete a topic, and wait until the broker does not show it any more."""
    admin.delete_topics([name])[name].result(TIMEOUT_S)
    deadline_s, tries = time.monotonic() + TIMEOUT_S, threading.Event()
    while name in topics.partition_counts(admin):
        assert time.monotonic() < deadline_s, "it is still there"
        tries.wait(0.02)


def test_each_topic_is_kept_stamped_and_bounded_as_promised(
    admin: AdminClient, settings: Settings
) -> None:
    names = settings.topics
    channel = ("delete", str(DAY_MS), "CreateTime", LEAST, "producer")
    status = ("delete", str(2 * DAY_MS), "CreateTime", LEAST, "producer")
    stamped = ("LogAppendTime", "400000", "uncompressed")
    assert configurations(admin, settings) == {
        names.requests: ("delete", str(5 * DAY_MS), *stamped),
        names.customers: ("delete", str(6 * DAY_MS), *stamped),
        names.registry: ("compact", str(7 * DAY_MS), "CreateTime", LEAST, "producer"),
        **dict.fromkeys(names.dispatch.values(), channel),
        names.status: status,
        names.rejected: status,
        names.ledger: ("delete", str(4 * DAY_MS), "CreateTime", LEAST, "producer"),
    }


def test_what_is_too_large_once_decompressed_is_refused_to_its_producer(settings: Settings) -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        said: list[str | None] = []

        def told(error: Any, _: Any, said: list[str | None] = said) -> None:
            said.append(error and error.name())

        producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "compression.type": codec,
                "message.max.bytes": 20_000_000,
            }
        )
        for topic in (settings.topics.requests, settings.topics.customers):
            for value in (bytes(2_000_000), b"x" * 300_000):
                producer.produce(topic, value, b"k", on_delivery=told)
                assert producer.flush(TIMEOUT_S) == 0
        producer.close()
        assert said == ["MSG_SIZE_TOO_LARGE", None] * 2, codec


def test_a_cluster_that_leaves_compression_to_producers_gets_the_topics_without(
    admin: AdminClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(admin, settings.topics.customers)
    asked: list[list[str]] = []

    class Managed:
        """A broker whose policy knows no compression.type: an error that Kafka itself never has."""

        def create_topics(self, topics: list[NewTopic], **kwargs: Any) -> dict[str, Any]:
            asked.append([one.topic for one in topics])
            refused = [one for one in topics if "compression.type" in one.config]
            answers = {one.topic: Future[None]() for one in refused}
            for answer in answers.values():
                answer.set_exception(KafkaException(KafkaError(KafkaError.POLICY_VIOLATION)))
            rest = [one for one in topics if one not in refused]
            return answers | (admin.create_topics(rest, **kwargs) if rest else {})

        def __getattr__(self, name: str) -> Any:
            return getattr(admin, name)

    monkeypatch.setattr(clients, "admin", lambda _: Managed())
    name = settings.topics.customers
    assert topics.create_missing(settings, SHARDS) == [name]
    assert asked == [[name], [name]]
    assert configurations(admin, settings)[name][2:] == ("LogAppendTime", "400000", "producer")
    monkeypatch.undo()
    (told,) = fit.check(settings, SHARDS)
    assert "customers takes records of any size" in told


@pytest.mark.parametrize("topic", ["requests", "customers"])
def test_a_source_that_does_not_stamp_is_refused(settings: Settings, topic: str) -> None:
    name = f"{settings.topic_prefix}{topic}"
    alter(settings, name, message_timestamp_type="CreateTime")
    for refuses in (init, check):
        with pytest.raises(ConfigurationError, match=r"message\.timestamp\.type=LogAppendTime"):
            refuses(settings)
    alter(settings, name, message_timestamp_type="LogAppendTime")
    check(settings)


def test_what_a_topic_does_not_take_is_told(settings: Settings) -> None:
    assert init(settings).told == []
    email = settings.topics.dispatch[Channel.EMAIL]
    alter(settings, email, max_message_bytes="200000")
    (told,) = init(settings).told
    assert told.startswith(f"{email} takes records of 200000 bytes at most")
    with structlog.testing.capture_logs() as said:
        check(settings)
    assert [(line["event"], line["told"]) for line in said] == [("topic unfit", told)]


def test_the_ledger_has_a_partition_a_shard_and_the_others_what_was_asked(
    admin: AdminClient, settings: Settings
) -> None:
    counts = topics.partition_counts(admin)
    ours = {name: count for name, count in counts.items() if name in settings.topics.all}
    assert ours == dict.fromkeys(settings.topics.all, 2) | {settings.topics.ledger: SHARDS}


def test_by_default_what_must_outlast_something_does() -> None:
    settings = Settings()
    assert settings.requests_retention_days > settings.horizon_days
    assert settings.dispatch_retention_days <= 7
    for spec in topics.specifications(settings, settings.shards):
        assert spec.config["cleanup.policy"] == (
            "compact" if spec.name == settings.topics.registry else "delete"
        )


def test_what_is_kept_for_days_is_gone_a_day_later(admin: AdminClient, settings: Settings) -> None:
    """Only whole segments are deleted or compacted: those of a day hold no record for longer."""
    names = settings.topics
    long = {names.requests, names.ledger}
    asked = [ConfigResource(ResourceType.TOPIC, one) for one in names.all if one not in long]
    found = admin.describe_configs(asked, request_timeout=TIMEOUT_S)
    for resource, future in found.items():
        config = future.result(TIMEOUT_S)
        assert config["segment.ms"].value == str(DAY_MS), resource.name
    (registry,) = (future.result() for one, future in found.items() if one.name == names.registry)
    assert registry["max.compaction.lag.ms"].value == str(7 * DAY_MS)
    assert registry["delete.retention.ms"].value == str(4 * DAY_MS)


def test_nothing_is_left_to_create(settings: Settings) -> None:
    assert topics.create_missing(settings, SHARDS) == []
    topics.check(settings, SHARDS)


def test_only_what_is_missing_is_created_and_nothing_changed(
    admin: AdminClient, settings: Settings
) -> None:
    delete(admin, settings.topics.status)
    with pytest.raises(ConfigurationError, match=r"missing: \S+status; run `saec init`"):
        topics.check(settings, SHARDS)
    broader = settings.model_copy(update={"partitions": 5, "dispatch_retention_days": 3})
    before = configurations(admin, settings, settings.topics.status)
    assert topics.create_missing(broader, SHARDS) == [settings.topics.status]
    assert configurations(admin, settings, settings.topics.status) == before
    counts = topics.partition_counts(admin)
    assert counts[settings.topics.status] == 5
    assert counts[settings.topics.requests] == 2


@pytest.mark.parametrize("shards", [SHARDS - 1, SHARDS + 1])
def test_a_ledger_of_another_number_of_shards_is_refused(
    admin: AdminClient, settings: Settings, shards: int
) -> None:
    says = rf"ledger has {SHARDS} partitions, the database {shards} shards"
    delete(admin, settings.topics.status)
    with pytest.raises(ConfigurationError, match=says):
        topics.create_missing(settings, shards)
    assert settings.topics.status not in topics.partition_counts(admin)
    topics.create_missing(settings, SHARDS)
    with pytest.raises(ConfigurationError, match=says):
        topics.check(settings, shards)


def test_a_broker_that_does_not_answer_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topics, "_TIMEOUT_S", 0.5)
    nobody = Settings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerUnavailableError, match="SAEC_BOOTSTRAP_SERVERS"):
        topics.check(nobody, SHARDS)


def refusing(admin: Any, names: set[str], error: KafkaError) -> Callable[..., Any]:
    """`create_topics` of a broker whose policy does not take some."""
    create = admin.create_topics

    def asked(topics: list[Any], **kwargs: Any) -> dict[str, Any]:
        taken = [topic for topic in topics if topic.topic not in names]
        futures: dict[str, Any] = dict(create(taken, **kwargs)) if taken else {}
        for name in names & {topic.topic for topic in topics}:
            futures[name] = Future()
            futures[name].set_exception(KafkaException(error))
        return futures

    return asked


def test_a_broker_whose_policy_refuses_a_retention_is_told_of_the_settings(
    admin: AdminClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are created all the same, and it is said which."""
    names = settings.topics
    for name in (names.requests, names.status):
        delete(admin, name)
    policy = KafkaError(KafkaError.POLICY_VIOLATION, "retention.ms: at most 90 days")
    made = clients.admin(settings)
    monkeypatch.setattr(made, "create_topics", refusing(made, {names.requests}, policy))
    monkeypatch.setattr(clients, "admin", lambda _: made)
    with pytest.raises(ConfigurationError) as refused:
        topics.create_missing(settings, SHARDS)
    said = str(refused.value)
    assert f"did not create 1 of 2 missing topics (created: {names.status})" in said
    assert f"{names.requests}: POLICY_VIOLATION: retention.ms: at most 90 days" in said
    assert "SAEC_REQUESTS_RETENTION_DAYS, now 5" in said
    assert "SAEC_HORIZON_DAYS (now 730)" in said
    assert f"kafka-topics.sh --create --topic {names.requests} --partitions 2 --config " in said
    assert "SAEC_STATUS_RETENTION_DAYS" not in said
    topics._wait_until_shown(lambda: names.status in topics.partition_counts(admin))
    monkeypatch.undo()
    assert topics.create_missing(settings, SHARDS) == [names.requests]


def test_more_replicas_than_there_are_brokers(admin: AdminClient, settings: Settings) -> None:
    delete(admin, settings.topics.ledger)
    asked = settings.model_copy(update={"replication_factor": 30})
    with pytest.raises(ConfigurationError) as refused:
        topics.create_missing(asked, SHARDS)
    assert "SAEC_REPLICATION_FACTOR, now 30" in str(refused.value)
    assert "SAEC_SHARDS, now 3" in str(refused.value)
    assert "--replication-factor 30" in str(refused.value)


def test_a_broker_that_does_not_answer_in_time_is_tried_again(
    admin: AdminClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(admin, settings.topics.status)
    late = KafkaError(KafkaError._TIMED_OUT)
    made = clients.admin(settings)
    names = {settings.topics.status}
    monkeypatch.setattr(made, "create_topics", refusing(made, names, late))
    monkeypatch.setattr(clients, "admin", lambda _: made)
    with pytest.raises(BrokerUnavailableError, match="did not create 1 of 1"):
        topics.create_missing(settings, SHARDS)
