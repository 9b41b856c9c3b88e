"""Publishes what requesters and the registry send: plain, idempotent, every record accounted for.

Invariant: a record is delivered or reported as failed, within a bound; one that is reported may
still have arrived (publishing it again is safe: SAEC answers a repetition as a duplicate).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, Producer

from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka import clients
from saec.kafka.records import Outgoing
from saec.settings import Settings

DELIVERY_TIMEOUT_S = 30
_METADATA_TIMEOUT_S = 10.0
_FULL_QUEUE_WAIT_S = 1.0
_QUEUE_MESSAGES = 10_000
_EXTRA_FLUSH_S = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that was not acknowledged: its place in what was given (0 first), and why."""

    index: int
    why: str


@dataclass(slots=True)
class Delivery:
    """What became of the records."""

    delivered: int = 0
    failures: list[Failure] = field(default_factory=list)


def _no_progress(_: int) -> None:
    """Nobody is watching."""


def publish(
    settings: Settings,
    records: Iterable[Outgoing],
    progress: Callable[[int], None] = _no_progress,
) -> Delivery:
    """Publish `records` in order; `progress` hears how many are acknowledged so far.

    Raises:
        BrokerUnavailableError: no broker answered; nothing was published.
        ConfigurationError: a record's topic does not exist; nothing was published from it on.
    """
    delivery = Delivery()
    producer = clients.producer(
        settings,
        **{
            "acks": "all",
            "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
            "queue.buffering.max.messages": _QUEUE_MESSAGES,
            "compression.type": "lz4",
        },
    )
    try:
        known = _topics(producer)
        for index, record in enumerate(records):
            _require(record.topic, known)
            _produce(producer, record, _on_delivery(delivery, index, progress))
            producer.poll(0)
        producer.flush(DELIVERY_TIMEOUT_S + _EXTRA_FLUSH_S)
    except BaseException:
        producer.purge()  # else closing waits for what nobody wants any more
        raise
    finally:
        producer.close()
    return delivery


def _topics(producer: Producer) -> frozenset[str]:
    try:
        # Of all topics: asking for one by name may create it.
        return frozenset(producer.list_topics(timeout=_METADATA_TIMEOUT_S).topics)
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"no answer from Kafka: {error.args[0].str()}; check SAEC_BOOTSTRAP_SERVERS"
        ) from None


def _require(topic: str, known: frozenset[str]) -> None:
    if topic not in known:
        raise ConfigurationError(f"there is no topic {topic}: run `saec init`")


def _produce(producer: Producer, record: Outgoing, on_delivery: Any) -> None:
    """Queue one record; with a full queue wait for room. Its own time-out makes room for sure."""
    while True:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                headers=record.headers,
                on_delivery=on_delivery,
            )
        except BufferError:
            producer.poll(_FULL_QUEUE_WAIT_S)
        except KafkaException as error:  # larger than message.max.bytes
            on_delivery(error.args[0], None)
            return
        else:
            return


def _on_delivery(
    delivery: Delivery, index: int, progress: Callable[[int], None]
) -> Callable[[Any, Any], None]:
    def told(error: Any, _: Any) -> None:
        if error is None:
            delivery.delivered += 1
            progress(delivery.delivered)
        else:
            delivery.failures.append(Failure(index, error.str()))

    return told
