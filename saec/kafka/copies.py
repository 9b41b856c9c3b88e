"""Copies of refused records that fit what saec.rejected takes today.

Invariant: a copy is never what keeps a batch from being answered: where its size does not fit, or
it is not known what fits, it is published without key, value and foreign headers.
"""

from saec.errors import BrokerUnavailableError
from saec.kafka import limits
from saec.kafka.records import Outgoing
from saec.kafka.transaction import TransactionalProducer
from saec.settings import Settings

# Of a batch of one record: what Kafka and SAEC write beside key, value and foreign headers.
_FRAMING_BYTES = 4_096
_HEADER_BYTES = 10
_OURS = "saec-"


class Copies:
    """Publishes copies by one producer, which it makes so that a batch is not too large either."""

    def __init__(self, settings: Settings, role: str) -> None:
        """Asks how large a record saec.rejected takes. Raises InDoubtError: see the producer."""
        self._topic = settings.topics.rejected
        largest = _asked(settings)
        self.producer = TransactionalProducer(settings, role, largest_bytes=largest)
        self._most = 0 if largest is None else largest - _FRAMING_BYTES

    def bare(self) -> None:
        """From now on without what was copied: the broker refused one for its size."""
        self._most = 0

    def publish(self, record: Outgoing) -> None:
        """Queue one answer of the open transaction; a copy so that it fits."""
        if record.topic != self._topic:
            self.producer.produce(record.topic, record.value, record.key, record.headers)
            return
        fitting = record if _weight(record) <= self._most else _without(record)
        self.producer.produce(fitting.topic, fitting.value, fitting.key, fitting.headers)


def _asked(settings: Settings) -> int | None:
    try:
        return limits.largest_bytes(settings, settings.topics.rejected)
    except BrokerUnavailableError:
        return None  # not allowed to see it, or no answer


def _weight(record: Outgoing) -> int:
    headers = sum(len(n.encode()) + len(v or b"") + _HEADER_BYTES for n, v in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _without(record: Outgoing) -> Outgoing:
    ours = [(name, value) for name, value in record.headers if name.startswith(_OURS)]
    return Outgoing(record.topic, None, None, ours)
