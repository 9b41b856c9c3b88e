"""Brokers that report a commit as done, and do not tell a partition: nothing is taken for sent.

One broker cannot do that. What it looks like is made by somebody else's transaction, open in front
of what SAEC writes: readers cannot pass, although SAEC's own commit was reported as done.
`python -m faults.leaderless` does it with two brokers of such a version.
"""

from collections.abc import Callable, Iterator

import pytest
import structlog
from confluent_kafka import Producer

from saec.dispatch.round import Worker
from saec.kafka import ends
from saec.kafka.ends import Reach
from saec.kafka.transaction import EndLostError, InDoubtError, TransactionalProducer
from saec.kafka.versions import Versions
from saec.settings import Settings
from tests.dispatch.kit import Installed
from tests.dispatch.test_worker import drive

TIMEOUT_S = 60.0
MakeWorker = Callable[..., Worker]


@pytest.fixture
def may_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker says that it is Kafka 4.3 or later."""
    monkeypatch.setattr(Versions, "of_4_3", lambda _: ["127.0.0.1:9092"])


class Somebody:
    """Another producer, with a transaction open in a partition."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "transactional.id": f"{settings.topic_prefix}somebody",
            }
        )
        self._producer.init_transactions(TIMEOUT_S)
        self._producer.begin_transaction()
        for partition in range(partitions):
            self._producer.produce(topic, b"", partition=partition)
        self._producer.flush(TIMEOUT_S)

    def end(self) -> None:
        """End it, by an abort."""
        self._producer.abort_transaction(TIMEOUT_S)


@pytest.fixture
def producer(installation: Settings) -> Iterator[TransactionalProducer]:
    made = TransactionalProducer(installation.model_copy(update={"transaction_timeout_s": 2}), "t")
    yield made
    made.discard()


def write(producer: TransactionalProducer, topic: str) -> None:
    producer.begin()
    producer.produce(topic, b"x", b"1", (), partition=1)
    producer.commit()


@pytest.mark.usefixtures("may_lose")
def test_a_commit_that_readers_do_not_see_is_told(
    installation: Settings, producer: TransactionalProducer
) -> None:
    topic = installation.topics.status
    write(producer, topic)
    somebody = Somebody(installation, topic, 2)
    with pytest.raises(EndLostError, match=f"did not reach {topic} partition 1$"):
        write(producer, topic)
    somebody.end()


@pytest.mark.usefixtures("may_lose")
def test_such_brokers_are_warned_of_once(
    installation: Settings, producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.transaction._warned_of", set())
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            write(producer, installation.topics.status)
    (line,) = [line for line in lines if line["event"] == "brokers of Kafka 4.3 or later"]
    assert line["brokers"] == ["127.0.0.1:9092"]


def test_older_brokers_are_not_asked(
    installation: Settings, producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded Kafka says that it is older, and then nothing is paid."""
    asked: list[object] = []
    monkeypatch.setattr(Reach, "unreached", lambda *_: asked.append(1) or set())
    somebody = Somebody(installation, installation.topics.status, 2)
    write(producer, installation.topics.status)
    assert (asked, producer.may_lose_ends) == ([], False)
    somebody.end()


def test_brokers_that_do_not_say_what_they_are_are_asked(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Reach, "unreached", lambda *_: asked.append(1) or set())
    monkeypatch.setattr(Versions, "emit", lambda *_: None)
    producer = TransactionalProducer(installation, "tests")
    write(producer, installation.topics.status)
    producer.discard()
    assert asked == [1]


@pytest.mark.usefixtures("may_lose")
def test_what_the_client_does_not_say_is_doubt(
    installation: Settings, producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that was repeated need not say where the record stands."""
    producer.begin()
    producer.produce(installation.topics.status, b"x", b"1", (), partition=1)
    monkeypatch.setattr(producer, "_written", {(installation.topics.status, 0): -1})
    with pytest.raises(InDoubtError, match="did not say where"):
        producer.commit()


@pytest.mark.usefixtures("may_lose")
def test_a_batch_is_applied_only_when_its_end_is_seen_everywhere(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then its shard waits, and says for what; nothing is sent again, and nothing is lost."""
    monkeypatch.setattr("saec.dispatch.takeover._SETTLE_WAIT_S", 0.2)
    topic = installed.settings.topics.dispatch["EMAIL"]
    worker = make_worker(transaction_timeout_s=2)
    installed.ask(shard=1)
    drive(worker, until=lambda: installed.pending() == 0)
    before = installed.batch_nos()
    somebody = Somebody(installed.settings, topic, installed.settings.partitions)
    request_id = installed.ask(shard=1)
    drive(worker, until=lambda: 1 in worker._suspended.waiting)
    assert "the end of a committed transaction has not reached" in worker._suspended.waiting[1]
    assert topic in worker._suspended.waiting[1]
    assert (installed.pending(), installed.batch_nos()) == (1, before)
    assert worker.halted == {}
    somebody.end()
    drive(worker, until=lambda: installed.pending() == 0)
    assert installed.batch_nos()[1] == before[1] + 1
    assert installed.sent()[request_id, "EMAIL", "ana"] == 1
    assert set(installed.sent().values()) == {1}


@pytest.mark.usefixtures("may_lose")
def test_a_partition_without_a_leader_is_waited_for(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say where it ends, and that is no end."""
    reach, place = Reach(installation), (installation.topics.status, 0)
    assert reach.unreached({place: -1}, TIMEOUT_S) == set()
    monkeypatch.setattr(Reach, "_ends", lambda *_: {})
    assert reach.unreached({place: -1}, 0) == {place}
    assert reach.written([place]) == {place: -1}
    reach.close()


def test_all_partitions_are_looked_at(installation: Settings) -> None:
    reach, topics = Reach(installation), installation.topics
    wanted = [*topics.dispatch.values(), topics.status]
    assert sorted(reach.places(wanted)) == [(t, p) for t in sorted(wanted) for p in (0, 1)]
    assert ends.Place
    reach.close()
