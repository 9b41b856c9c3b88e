"""Work that does not go on, and what stands in its way, each made true on the real stack."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from saec.cli.instants import wall_ms
from saec.doctor import progress
from saec.doctor.examine import examine
from saec.settings import Settings
from saec.store.engine import transaction
from saec.store.positions import save_positions
from tests.dispatch.kit import Installed
from tests.doctor.conftest import Look

TIMEOUT_S = 60


def publish(settings: Settings, topic: str, records: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    failures: list[Any] = []
    for number in range(records):
        key = str(number).encode()
        producer.produce(
            topic, b"x", key, partition, on_delivery=lambda error, _: failures.append(error)
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert failures == [None] * records


@contextmanager
def member(settings: Settings, role: str, topic: str) -> Iterator[Any]:
    """A member of a group, who has every partition and reads nothing on."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group_id(role),
        "enable.auto.commit": False,
    }
    assigned: list[Any] = []
    with closing(Consumer(config)) as consumer:
        consumer.subscribe([topic], on_assign=lambda _, parts: assigned.extend(parts))
        while not assigned:
            consumer.poll(0.1)
        yield consumer


def commit(settings: Settings, role: str, topic: str, offset: int) -> None:
    """Commit an offset of partition 0 for a group that has no members."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group_id(role),
    }
    with closing(Consumer(config)) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)


@pytest.mark.parametrize("role", ["requests", "customers"])
def test_a_topic_that_nobody_reads(installed: Installed, look: Look, role: str) -> None:
    settings, check = installed.settings, f"{role}_lag"
    topic = f"{settings.topic_prefix}{role}"
    (finding,) = look(check)
    assert (finding.level, "0 records wait" in finding.found) == ("warning", True)
    publish(settings, topic, 3)
    (finding,) = look(check)
    assert (finding.level, "3 records wait" in finding.found) == ("error", True)
    assert f"consumers.{role}" in (finding.advice or "")
    with member(settings, role, topic):
        (finding,) = look(check)
        assert (finding.level, finding.found) == ("ok", f"3 records of {topic} wait")


def test_topics_of_requesters_from_which_nobody_forwards(
    make_installation: Callable[..., Settings],
) -> None:
    settings = make_installation(requesters="billing,crm")
    topics = list(settings.requester_topics)

    def look() -> list[tuple[str, str]]:
        said = examine(settings, wall_ms, wait_s=0)
        return [(f.level.value, f.found) for f in said.findings if f.check == "requesters_lag"]

    publish(settings, topics[1], 3)
    assert look() == [
        ("warning", f"nobody reads {topics[0]}, partitions 0, 1; 0 records wait"),
        ("error", f"nobody reads {topics[1]}, partitions 0, 1; 3 records wait"),
    ]
    with member(settings, "requesters", topics[1]):
        assert look()[1] == ("ok", f"3 records of {topics[1]} wait")


def test_a_transaction_that_stays_open_and_a_topic_that_is_missing_of_requesters(
    make_installation: Callable[..., Settings],
) -> None:
    settings = make_installation(requesters="billing")
    (topic,) = settings.requester_topics

    def look(check: str, settings: Settings = settings) -> list[tuple[str, str]]:
        said = examine(settings, wall_ms, wait_s=0)
        return [(f.level.value, f.found) for f in said.findings if f.check == check]

    with open_transaction(settings, topic):
        assert look("hanging_transactions") == [
            ("error", f"open for more than 0 s: {topic} partition 1")
        ]
    more = settings.model_copy(update={"requesters": "billing,crm"})
    assert look("topics") == [("ok", "all 11 are there")]
    assert look("topics", more) == [("error", f"missing: {settings.topics.requests}.crm")]


def test_without_topics_of_requesters_nothing_has_to_be_forwarded(
    installed: Installed, look: Look
) -> None:
    (finding,) = look("requesters_lag")
    assert (finding.level, finding.found) == ("ok", "no requester has a topic of its own")


def test_a_long_lag(installed: Installed, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LAG_RECORDS", 9)
    topic = installed.settings.topics.requests
    publish(installed.settings, topic, 9)
    with member(installed.settings, "requests", topic):
        assert [f.level for f in look("requests_lag")] == ["ok"]
        publish(installed.settings, topic, 1)
        assert [f.level for f in look("requests_lag")] == ["warning"]


def test_what_waits_behind_an_open_transaction_is_counted(installed: Installed, look: Look) -> None:
    """A requester's transaction holds up everybody's records, cancels too: they are no end."""
    settings, topic = installed.settings, installed.settings.topics.requests
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": f"{settings.topic_prefix}requester",
        }
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.flush(TIMEOUT_S)
    publish(settings, topic, 3, partition=1)
    with member(settings, "requests", topic):
        (finding,) = look("requests_lag")
    waits = f"4 records of {topic} wait, behind an open transaction in partitions 1"
    assert finding.found == waits
    (finding,) = look("hanging_transactions")
    assert "describe-producers" in (finding.advice or "")
    producer.abort_transaction(TIMEOUT_S)


def test_records_that_were_deleted_unread(
    installed: Installed, look: Look, admin: AdminClient
) -> None:
    topic = installed.settings.topics.requests
    publish(installed.settings, topic, 7)
    commit(installed.settings, "requests", topic, 2)
    before = TopicPartition(topic, 0, 5)
    admin.delete_records([before])[before].result(TIMEOUT_S)
    gap, unread = look("requests_lag")
    assert "offsets 2 to 4 were deleted before they were read" in gap.found
    assert (gap.level, unread.level) == ("error", "error")


def test_a_database_that_went_back(installed: Installed, look: Look) -> None:
    topic = installed.settings.topics.customers
    publish(installed.settings, topic, 3)
    with transaction(installed.engine) as connection:
        save_positions(connection, topic, {0: 2})
    commit(installed.settings, "customers", topic, 2)
    assert [f.level for f in look("positions")] == ["ok"]
    commit(installed.settings, "customers", topic, 3)
    (finding,) = look("positions")
    assert finding.level == "error"
    assert "went back in time" in finding.found
    assert f"{topic} partition 0" in finding.found


def test_a_source_topic_that_was_recreated(installed: Installed, look: Look) -> None:
    with transaction(installed.engine) as connection:
        save_positions(connection, installed.settings.topics.requests, {1: 100})
    (finding,) = look("positions")
    assert (finding.level, "knows more than the topic holds" in finding.found) == ("error", True)


def test_a_ledger_that_was_replaced(installed: Installed, look: Look) -> None:
    assert [f.level for f in look("ledger")] == ["ok"]
    installed.execute("UPDATE shards SET ledger_offset = 99 WHERE shard = 2")
    (finding,) = look("ledger")
    assert (finding.level, "in shards 2" in finding.found) == ("error", True)


@contextmanager
def open_transaction(settings: Settings, topic: str) -> Iterator[None]:
    """A transaction that is open meanwhile, with a record in partition 1 of a topic."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": f"{settings.topic_prefix}hanging",
        }
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.flush(TIMEOUT_S)
    yield
    producer.abort_transaction(TIMEOUT_S)


@pytest.mark.parametrize("topic", ["ledger", "dispatch.sms", "requests"])
def test_a_transaction_that_stays_open(installed: Installed, look: Look, topic: str) -> None:
    settings = installed.settings
    name = f"{settings.topic_prefix}{topic}"
    with open_transaction(settings, name):
        (finding,) = look("hanging_transactions")
        assert (finding.level, f"{name} partition 1" in finding.found) == ("error", True)
    assert [f.level for f in look("hanging_transactions")] == ["ok"]


def test_a_transaction_that_ends_in_time_is_none_that_hangs() -> None:
    """Dispatch has one open most of the time: what counts is that the end moves on."""
    first = {("t", 0): progress.Ends(0, 5, 7)}
    assert progress._unsettled(first, {("t", 0): progress.Ends(0, 6, 20)}) == [("t", 0)]
    assert progress._unsettled(first, {("t", 0): progress.Ends(0, 7, 20)}) == []


def test_a_halted_shard(installed: Installed, look: Look) -> None:
    assert [f.level for f in look("halted_shards")] == ["ok"]
    installed.execute("UPDATE shards SET halted = 'for a test' WHERE shard IN (1, 3)")
    found = look("halted_shards")
    assert [(f.level, f.found) for f in found] == [
        ("error", "shard 1: for a test"),
        ("error", "shard 3: for a test"),
    ]


def test_shards_that_no_worker_has(
    installed: Installed, look: Look, make_due: Callable[[], None]
) -> None:
    (finding,) = look("unowned_shards")
    assert (finding.level, finding.found) == ("warning", "no worker has shards 0, 1, 2, 3")
    make_due()
    (finding,) = look("unowned_shards")
    assert (finding.level, "messages are due there" in finding.found) == ("error", True)
    with member(installed.settings, "dispatch", installed.settings.topics.ledger):
        assert [f.found for f in look("unowned_shards")] == ["4 shards, 1 worker(s)"]


@pytest.fixture
def make_due(installed: Installed) -> Callable[[], None]:
    """Makes a message due in shard 2."""
    installed.register("ana")
    return lambda: installed.ask(shard=2) and None


def test_messages_that_should_have_left(
    installed: Installed, look: Look, make_due: Callable[[], None]
) -> None:
    make_due()
    assert [f.level for f in look("overdue")] == ["ok"]
    installed.execute("UPDATE pending SET due_at_ms = due_at_ms - 60000")
    (finding,) = look("overdue")
    assert (finding.level, "in shards 2" in finding.found) == ("warning", True)
