"""A transaction ends done or in doubt, whatever the client raises, and a fence is a fence."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saec.kafka import transaction
from saec.kafka.transaction import InDoubtError, TransactionalProducer, fence
from saec.settings import Settings

RAISED = [
    KafkaException(KafkaError(KafkaError._TIMED_OUT)),
    KafkaException(KafkaError(KafkaError._FENCED)),
    SystemError("returned NULL without setting an exception"),
    RuntimeError("anything"),
]
CALLS: dict[str, Callable[[TransactionalProducer], object]] = {
    "begin": lambda p: p.begin(),
    "produce": lambda p: p.produce("topic", b"value", b"key", []),
    "deliver": lambda p: p.deliver(),
    "offsets": lambda p: p.send_offsets({("t", 0): 1}, None),
    "commit": lambda p: p.commit(),
}


@pytest.fixture
def producer(installation: Settings) -> Iterator[TransactionalProducer]:
    made = TransactionalProducer(installation, "tests")
    yield made
    made.discard()


class _Failing:
    """A client whose every call raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _name: str) -> Callable[..., None]:
        def call(*_args: Any, **_kwargs: Any) -> None:
            raise self._error

        return call


class _Hanging:
    """A client that does not come back from a call, but can be listened to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ends = threading.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*_args: Any, **_kwargs: Any) -> None:
            self.calls.append(name)
            if name != "poll":
                self.ends.wait()

        return call


@pytest.mark.parametrize("error", RAISED, ids=[str(error)[:40] for error in RAISED])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_the_client_raises_is_doubt(call: str, error: Exception) -> None:
    producer = TransactionalProducer.__new__(TransactionalProducer)
    producer._producer, producer._hangs = _Failing(error), False  # type: ignore[assignment]
    producer._timeout_s, producer._bound_s = 1, 1.0
    with pytest.raises(InDoubtError):
        CALLS[call](producer)
    producer.discard()  # raises nothing, whatever the client raises


def test_offsets_from_which_the_client_does_not_come_back_are_doubt() -> None:
    hanging = _Hanging()
    producer = TransactionalProducer.__new__(TransactionalProducer)
    producer._producer, producer._hangs = hanging, False  # type: ignore[assignment]
    producer._timeout_s = 1
    with pytest.raises(InDoubtError, match="no answer in 1 s"):
        producer.send_offsets({("t", 0): 1}, None)
    producer.discard()
    # What the client says meanwhile was heard, and it is not closed under the call.
    assert set(hanging.calls) == {"send_offsets_to_transaction", "poll"}
    hanging.ends.set()


def test_a_producer_that_cannot_be_initialised_is_thrown_away(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown_away: list[TransactionalProducer] = []

    def note(self: TransactionalProducer) -> None:
        thrown_away.append(self)

    monkeypatch.setattr(TransactionalProducer, "discard", note)
    failing = _Failing(RAISED[0])
    monkeypatch.setattr(transaction.clients, "producer", lambda _settings, **_more: failing)
    with pytest.raises(InDoubtError):
        TransactionalProducer(installation, "tests")
    assert len(thrown_away) == 1


def test_what_is_committed_is_visible_and_what_was_fenced_is_not(
    installation: Settings, producer: TransactionalProducer
) -> None:
    topic = installation.topics.status
    producer.begin()
    producer.produce(topic, b"committed", None, [], partition=0)
    producer.commit()
    producer.begin()
    producer.produce(topic, b"fenced", None, [], partition=0)
    fence(installation, producer.transactional_id)
    with pytest.raises(InDoubtError):
        producer.commit()
    assert values(installation, topic) == [b"committed"]


def test_what_is_to_be_delivered_does_not_linger(installation: Settings) -> None:
    lingering = installation.model_copy(
        update={"kafka": {"linger.ms": "290000"}, "transaction_timeout_s": 800}
    )
    producer = TransactionalProducer(lingering, "tests")
    delivered = list[Any]()
    producer.begin()
    producer.produce(
        *(installation.topics.status, b"value", b"key", []),
        on_delivery=lambda error, _: delivered.append(error),
    )
    began_s = time.monotonic()
    producer.deliver()
    assert delivered == [None]
    assert time.monotonic() - began_s < 200
    producer.discard()


def test_a_new_id_for_every_producer(installation: Settings) -> None:
    ids = {installation.new_transactional_id("dispatch") for _ in range(10)}
    assert len(ids) == 10
    assert all(id_.startswith(installation.topic_prefix) for id_ in ids)


def values(settings: Settings, topic: str) -> list[bytes | None]:
    """The committed values of partition 0."""
    reader = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "tests",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    reader.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []
    while True:
        message = reader.poll(60)
        assert message is not None
        if message.error():
            reader.close()
            return found
        found.append(message.value())


@pytest.mark.parametrize(
    ("code", "away"),
    [
        (KafkaError._TIMED_OUT, "Kafka"),
        (KafkaError._TRANSPORT, "Kafka"),
        (KafkaError.NOT_ENOUGH_REPLICAS, "Kafka"),
        (KafkaError._FENCED, None),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, None),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, None),
    ],
)
def test_a_broker_that_says_no_is_not_away(code: int, away: str | None) -> None:
    """A health check waits for the one, and tells the other."""
    assert InDoubtError("in doubt", KafkaError(code)).away == away
    assert InDoubtError("in doubt").away == "Kafka"
