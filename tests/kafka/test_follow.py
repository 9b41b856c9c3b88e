"""Where reading starts and ends, also with what transactions leave in a topic."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka.follow import Beginning, End, Follower, Since, Start, read_whole
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings

POLL_S = 0.2


def put(settings: Settings, *values: bytes) -> None:
    topic = settings.topics.status
    assert publish(settings, [Outgoing(topic, v, v, []) for v in values]).failures == []


def transact(settings: Settings, end: Callable[[Producer], None], *values: bytes) -> None:
    """One transaction; `end` commits or aborts it."""
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "transactional.id": settings.topic_prefix}
    )
    producer.init_transactions()
    producer.begin_transaction()
    for value in values:
        producer.produce(settings.topics.status, value, value)
    producer.flush()
    end(producer)
    producer.close()


def whole(settings: Settings, start: Start) -> list[bytes | None]:
    return sorted(r.value or b"" for r in read_whole(settings, [settings.topics.status], start))


def test_the_whole_topic_ends_behind_the_markers_of_transactions(installation: Settings) -> None:
    assert whole(installation, Beginning()) == []
    put(installation, b"1")
    transact(installation, Producer.commit_transaction, b"2", b"3")
    transact(installation, Producer.abort_transaction, b"4")
    assert whole(installation, Beginning()) == [b"1", b"2", b"3"]


def test_the_end_is_where_it_was_at_the_start(installation: Settings) -> None:
    put(installation, b"1")
    with Follower(installation, [installation.topics.status], End()) as follower:
        assert follower.at_end
        put(installation, b"2")
        while not (received := follower.poll(POLL_S)):
            pass
    assert [record.value for record in received] == [b"2"]


def test_since_an_instant(installation: Settings) -> None:
    put(installation, b"1")
    (record,) = read_whole(installation, [installation.topics.status], Beginning())
    assert whole(installation, Since(record.appended_at_ms)) == [b"1"]
    assert whole(installation, Since(record.appended_at_ms + 60_000)) == []


def test_since_the_future_still_hears_what_arrives(installation: Settings) -> None:
    put(installation, b"1")
    with Follower(installation, [installation.topics.status], Since(2**42)) as follower:
        put(installation, b"2")
        while not (received := follower.poll(POLL_S)):
            pass
    assert [record.value for record in received] == [b"2"]


def test_a_topic_that_is_missing(installation: Settings) -> None:
    with pytest.raises(ConfigurationError, match="saec init"):
        Follower(installation, ["none"], End())


def test_a_broker_that_does_not_answer(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.follow._TIMEOUT_S", 0.2)
    nowhere = installation.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(BrokerUnavailableError, match="SAEC_BOOTSTRAP_SERVERS"):
        Follower(nowhere, [installation.topics.status], End())
