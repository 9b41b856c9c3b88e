"""Publishes single records for many callers of one event loop, each told when its own is safe.

Invariant: `publish` returns only when the broker has the record on all replicas in sync; whoever
gets an error does not know whether it arrived (publishing it again is safe: SAEC answers a
repetition as a duplicate).
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.records import Outgoing
from saec.settings import Settings

DELIVERY_TIMEOUT_S = 10
_LINGER_MS = 2
_POLL_S = 0.1
_CLOSE_S = 5.0
_QUEUE_MESSAGES = 20_000


class Appended(NamedTuple):
    """Where a record stands. As a text it is what the answer to it names in `ce_id`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


_Promise = asyncio.Future[Appended]


class AsyncProducer:
    """One idempotent producer for everybody. Make it and use it in one running event loop.

    While Kafka does not answer, one record at a time finds out whether it does again; the others
    fail at once, instead of waiting for what will not come.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._told: deque[tuple[_Promise, Appended | KafkaError, _Served]] = deque()
        self._waking = False
        self._away = False
        self._probing = False
        self._producer: _Served | None = _Served(settings)

    async def publish(self, record: Outgoing) -> Appended:
        """Publish a record; returns where it stands.

        Raises:
            BrokerUnavailableError: not acknowledged within 10 s, or more is waiting than may.
        """
        if not self._away:
            return await self._deliver(record)
        if self._probing:
            raise BrokerUnavailableError("Kafka does not answer")
        self._probing = True
        try:
            return await self._deliver(record)
        finally:
            self._probing = False

    async def close(self) -> None:
        """Wait for what is on its way, within 5 s, and give the producer back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.close)

    async def _deliver(self, record: Outgoing) -> Appended:
        promise: _Promise = self._loop.create_future()
        producer = self._producer
        if producer is None:
            raise BrokerUnavailableError("the producer is closed")

        def told(error: KafkaError | None, message: Any) -> None:
            where = error or Appended(message.topic(), message.partition(), message.offset())
            self._told.append((promise, where, producer))
            if not self._waking:  # one wake-up for all that is told together
                self._waking = True
                self._loop.call_soon_threadsafe(self._hear)

        try:
            producer.produce(record, told)
        except BufferError:
            raise BrokerUnavailableError("too much is waiting for Kafka") from None
        except KafkaException as error:
            self._failed(error.args[0], producer)
            raise BrokerUnavailableError(f"Kafka: {error.args[0].str()}") from None
        return await promise

    def _hear(self) -> None:
        """In the event loop: keep the promises of what was told meanwhile."""
        self._waking = False  # before looking: what is told from here on wakes again
        while self._told:
            promise, where, producer = self._told.popleft()
            if isinstance(where, Appended):
                self._away = False
            else:
                self._failed(where, producer)
            if promise.done():
                continue
            if isinstance(where, Appended):
                promise.set_result(where)
            else:
                promise.set_exception(BrokerUnavailableError(f"Kafka: {where.str()}"))

    def _failed(self, error: KafkaError, producer: "_Served") -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE or producer is not self._producer:
            return  # of this record alone, or what was left of a spent producer
        self._away = True
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 - its public name
            # It never recovers. Nothing depends on the order of two records of different callers.
            self._producer = _Served(self._settings)
            threading.Thread(target=producer.close, daemon=True).start()


class _Served:
    """A producer, and the thread in which it calls back."""

    def __init__(self, settings: Settings) -> None:
        self._stopping = False
        self._producer = clients.producer(
            settings,
            **{
                "acks": "all",
                "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
                "linger.ms": _LINGER_MS,
                "queue.buffering.max.messages": _QUEUE_MESSAGES,
            },
        )
        self._thread = threading.Thread(target=self._poll, daemon=True, name="producer")
        self._thread.start()

    def produce(self, record: Outgoing, told: Callable[[KafkaError | None, Any], None]) -> None:
        """Queue a record. Raises BufferError: there is no room."""
        self._producer.produce(
            record.topic, record.value, record.key, headers=record.headers, on_delivery=told
        )

    def close(self) -> None:
        """Wait for what is queued, within 5 s; what is left is told as failed."""
        with suppress(KafkaException):  # that it is spent
            self._producer.flush(_CLOSE_S)
        self._producer.purge()
        self._stopping = True
        self._thread.join()
        self._producer.close()

    def _poll(self) -> None:
        while not self._stopping:
            # That it is spent is raised here once, and told of every record as well.
            with suppress(KafkaException):
                self._producer.poll(_POLL_S)
