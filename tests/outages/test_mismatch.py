"""Topics, schema and offsets that are not as SAEC left them: it waits, or stops and says why."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from saec import installation
from saec.clock import SystemClock
from saec.contracts.status import Status
from saec.dispatch.round import Worker
from saec.errors import ConfigurationError
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.outages.grounds import Grounds, wait_until
from tests.outages.single import Process

REQUESTS, DISPATCH = "consumers.requests", "producers.dispatch"
Start = Callable[..., Process]


@pytest.fixture
def settings(ruin: Callable[..., Settings]) -> Settings:
    """An installation of the test's own: these tests break it."""
    return ruin(shards=2, partitions=2)


@pytest.fixture
def installed(settings: Settings) -> Iterator[Installed]:
    """The same, to ask and to look."""
    engine = open_engine(settings.database_url)
    made = Installed(settings, engine)
    yield made
    engine.dispose()


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    """What an administrator of Kafka can do."""
    return AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})


def delete_topic(admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result(60)
    wait_until(lambda: topic not in admin.list_topics(timeout=60).topics)


def create_topic(admin: AdminClient, topic: str, partitions: int) -> None:
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(60)
    wait_until(lambda: topic in admin.list_topics(timeout=60).topics)


def publish(settings: Settings, count: int, partition: int = 0) -> list[str]:
    """Publish requests for a far day; returns their ids."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for one in ids:
        value = {
            "type": "saec.v1.ScheduleRequested",
            "id": one,
            "requester": "tests",
            "channels": ["EMAIL"],
            "customers": ["ana"],
            "due_at": "2027-06-01T09:00:00Z",
            "message": {"body": "Olá", "content_type": "text/plain"},
        }
        producer.produce(settings.topics.requests, json.dumps(value), one, partition)
    assert producer.flush(60) == 0
    return ids


def accepted(installed: Installed) -> Counter[str | None]:
    """How often each request was answered with ACCEPTED."""
    return Counter(s.request_id for s in installed.statuses() if s.status is Status.ACCEPTED)


def test_a_topic_that_is_missing_at_the_start(
    settings: Settings, admin: AdminClient, start: Start
) -> None:
    delete_topic(admin, settings.topics.status)
    said = start(REQUESTS).ends_by_itself()
    assert f"topics are missing: {settings.topics.status}; run `saec init`" in said


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_ledger_with_another_number_of_partitions_at_the_start(
    settings: Settings, admin: AdminClient, start: Start, partitions: int
) -> None:
    delete_topic(admin, settings.topics.ledger)
    create_topic(admin, settings.topics.ledger, partitions)
    said = start(DISPATCH).ends_by_itself()
    assert f"has {partitions} partitions, the database 2 shards" in said


def test_a_ledger_that_grows_under_a_worker(settings: Settings, admin: AdminClient) -> None:
    ledger, engine = settings.topics.ledger, open_engine(settings.database_url)
    admin.create_partitions([NewPartitions(ledger, 3)])[ledger].result(60)
    worker = Worker(settings, engine, SystemClock())
    try:
        with pytest.raises(ConfigurationError, match=r"no shards for the partitions \[2\]"):
            wait_until(lambda: worker.run_once() < 0)
    finally:
        worker.close()
        engine.dispose()


def test_a_channel_topic_that_is_missing_for_a_while(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    installed.register("ana")
    process = start(DISPATCH)
    process.wait_for("shards taken over")
    delete_topic(admin, settings.topics.dispatch["EMAIL"])  # type: ignore[index]
    asked = installed.ask()
    process.wait_for("round abandoned")
    installation.init(settings)
    process.wait_for("working again")
    process.stop()
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = '9999'",
        "UPDATE alembic_version SET version_num = '0000'",
    ],
)
def test_another_schema_at_the_start(installed: Installed, start: Start, change: str) -> None:
    installed.execute(change)
    said = start(DISPATCH).ends_by_itself()
    assert "the database is at schema" in said
    assert "run `saec init`" in said


def test_another_schema_while_running(
    settings: Settings, installed: Installed, start: Start
) -> None:
    worker, consumer = start(DISPATCH), start(REQUESTS)
    worker.wait_for("shards taken over")
    consumer.wait_for("ready")
    installed.execute("ALTER TABLE pending RENAME COLUMN due_at_ms TO due_ms")
    publish(settings, 1)
    for process in (worker, consumer):
        said = process.ends_by_itself()
        assert "the database has another schema than this release needs" in said
        assert "run `saec init` and all processes from one release" in said
    installed.execute("ALTER TABLE pending RENAME COLUMN due_ms TO due_at_ms")
    again = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 1)
    again.stop()


def test_offsets_that_expired(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    asked = publish(settings, 5)
    first = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 5)
    first.stop()
    group = settings.group_id("requests")
    admin.delete_consumer_groups([group])[group].result(60)
    asked += publish(settings, 5)
    second = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 10)
    second.stop()
    assert accepted(installed) == Counter(asked)
    assert {status.status for status in installed.statuses()} == {Status.ACCEPTED}


def test_retention_that_passed_what_was_not_read(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    asked = publish(settings, 2, partition=0)
    first = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 2)
    first.stop()
    publish(settings, 2, partition=0)
    place = TopicPartition(settings.topics.requests, 0, 4)
    admin.delete_records([place])[TopicPartition(place.topic, 0)].result(60)
    asked += publish(settings, 1, partition=0)
    other = publish(settings, 1, partition=1)

    second = start(REQUESTS)
    wait_until(lambda: set(other) <= set(accepted(installed)))
    line = second.wait_for("partition stopped")
    assert "partition 0: offsets 2 to 3 were deleted before they were read" in line["error"]
    second.stop()
    assert [found["event"] for found in second.lines()].count("partition stopped") == 1

    # What docs/operations.md says: first the database, then the group.
    installed.execute(
        f"UPDATE positions SET next_offset = 4 WHERE topic = '{place.topic}' AND partition = 0"
    )
    moved = ConsumerGroupTopicPartitions(settings.group_id("requests"), [place])
    (done,) = admin.alter_consumer_group_offsets([moved]).values()
    done.result(60)
    third = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 4)
    third.stop()
    assert accepted(installed) == Counter([*asked, *other])


def test_a_ledger_that_is_replaced_by_a_smaller_one_under_a_worker(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    """It stands still and says why; what was sent is not sent again."""
    installed.register("ana")
    process = start(DISPATCH)
    process.wait_for("shards taken over")
    first = installed.ask()
    wait_until(lambda: installed.pending() == 0 and installed.claims() == 0)
    delete_topic(admin, settings.topics.ledger)
    create_topic(admin, settings.topics.ledger, 1)
    installed.ask(shard=1)
    # The next line of a trouble that lasts comes after half a minute.
    wait_until(
        lambda: (
            "there is no partition 1; was the topic recreated" in process.log.read_text()
            or process.child.poll() is not None
        )
    )
    process.stop_or_ended()  # it may have asked for the topic while there was none
    assert installed.pending() == 1
    assert installed.sent() == {(first, "EMAIL", "ana"): 1}
    said = start(DISPATCH).ends_by_itself()
    assert "has 1 partitions, the database 2 shards" in said


def test_a_ledger_that_is_replaced_by_an_equal_one_under_a_worker(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    """Who has it open halts what it then sends, once; nobody else begins on it unasked."""
    installed.register("ana")
    process = start(DISPATCH)
    process.wait_for("shards taken over")
    asked = [installed.ask(shard=shard) for shard in (0, 1)]
    wait_until(lambda: installed.pending() == 0 and installed.claims() == 0)
    delete_topic(admin, settings.topics.ledger)
    create_topic(admin, settings.topics.ledger, 2)
    asked += [installed.ask(shard=shard) for shard in (0, 1)]
    said = start(DISPATCH).ends_by_itself()
    assert "this is not the Kafka that the database knows" in said
    process.stop_or_ended()  # it may have asked for the topic while there was none
    sent = installed.sent()
    assert set(sent.values()) == {1}
    assert {request for request, _, _ in sent} <= set(asked)
    # What left by a ledger that had lost its records stays claimed, so that no cancel is too early.
    assert len(sent) + installed.pending() - installed.claims() == len(asked)


def test_requests_that_are_replaced_under_a_consumer(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    publish(settings, 5)
    publish(settings, 5, partition=1)
    process = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 10)
    delete_topic(admin, settings.topics.requests)
    create_topic(admin, settings.topics.requests, 1)
    publish(settings, 2)
    assert "was the topic recreated?" in process.ends_by_itself()
    said = start(REQUESTS).ends_by_itself()
    assert "this is not the Kafka that the database knows" in said
    assert set(accepted(installed).values()) == {1}


def test_answers_that_have_no_topic_for_a_while(
    settings: Settings, installed: Installed, admin: AdminClient, start: Start
) -> None:
    process = start(REQUESTS)
    process.wait_for("ready")
    delete_topic(admin, settings.topics.status)
    asked = publish(settings, 5)
    process.wait_for("batch abandoned")
    installation.init(settings)
    process.wait_for("working again")
    process.stop()
    assert accepted(installed) == Counter(asked)


def test_retention_that_passes_a_reader_while_it_is_cut_off(
    grounds: Grounds, settings: Settings, installed: Installed, start: Start
) -> None:
    past_the_proxy = settings.model_copy(update={"bootstrap_servers": grounds.bootstrap_servers})
    admin = AdminClient({"bootstrap.servers": grounds.bootstrap_servers, "log_level": 0})
    asked = publish(settings, 2)
    process = start(REQUESTS)
    wait_until(lambda: len(accepted(installed)) == 2)
    grounds.kafka.refuse()
    try:
        publish(past_the_proxy, 2)
        place = TopicPartition(settings.topics.requests, 0, 4)
        admin.delete_records([place])[place].result(60)
    finally:
        grounds.kafka.mend()
    asked += publish(settings, 1)
    assert "was the topic recreated?" in process.ends_by_itself()
    again = start(REQUESTS)
    line = again.wait_for("partition stopped")
    assert "partition 0: offsets 2 to 3 were deleted before they were read" in line["error"]
    again.stop()
    assert accepted(installed) == Counter(asked[:2])
