"""Requests as requesters publish them, waiting in the topic or coming at a steady rate.

Invariant: the events say what the rows of `bench/preload.py` say; a test compares what ingest makes
of one with the other.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

from bench.instants import now_ms
from bench.say import Progress
from bench.site import Site
from bench.workload import MESSAGE, REQUESTER, Singles, request_id
from saec.contracts import avro

AVRO, JSON = "avro", "json"
_STEP_S = 0.01
_DAY_MS = 86_400_000


def publish(site: Site, asked: Singles, encoding: str = AVRO) -> None:
    """Put these requests into the topic; returns when the broker has them all."""
    producer = _producer(site)
    progress = Progress("requests published", len(asked))
    topic = site.settings.topics.requests
    for number, (id_, due_ms) in enumerate(zip(asked.request_ids(), asked.dues_ms, strict=True), 1):
        value = encoded(id_, asked.customer(number), due_ms, encoding)
        _produce(producer, topic, value, id_)
        if number % 10_000 == 0:
            progress.at(number)
    producer.flush()


def encoded(id_: uuid.UUID, customer: str, due_ms: int, encoding: str = AVRO) -> bytes:
    """A request of one customer by e-mail."""
    fields: dict[str, Any] = {
        "id": str(id_),
        "requester": REQUESTER,
        "campaign_id": None,
        "channels": ["EMAIL"],
        "customers": [customer],
        "due_at": due_ms,
        "expires_at": None,
        "lane": None,
        "message": {
            "subject": None,
            "body": MESSAGE.body,
            "content_type": MESSAGE.content_type,
            "attributes": {},
        },
    }
    if encoding == AVRO:
        return avro.encode_single("schedule_requested", fields)
    message = {"body": MESSAGE.body.decode(), "content_type": MESSAGE.content_type}
    return json.dumps({"type": "saec.v1.ScheduleRequested", **fields, "message": message}).encode()


class Feeder:
    """Publishes requests that are due in a month, so many a second, in a thread."""

    def __init__(self, site: Site, label: str, per_second: float) -> None:
        self.published: list[uuid.UUID] = []
        self._label = label
        self._per_second = per_second
        self._topic = site.settings.topics.requests
        self._producer = _producer(site)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish no more."""
        self._over.set()
        self._thread.join()
        self._producer.flush()

    def _run(self) -> None:
        due_ms, began_s = now_ms() + 30 * _DAY_MS, time.monotonic()
        while not self._over.wait(_STEP_S):
            for _ in range(self._behind(began_s)):
                id_ = request_id(self._label, len(self.published) + 1)
                _produce(self._producer, self._topic, encoded(id_, "c0", due_ms), id_)
                self.published.append(id_)

    def _behind(self, began_s: float) -> int:
        return round((time.monotonic() - began_s) * self._per_second) - len(self.published)


@contextmanager
def fed(site: Site, label: str, per_second: float) -> Iterator[Feeder]:
    """A feeder while in the block."""
    feeder = Feeder(site, label, per_second)
    try:
        yield feeder
    finally:
        feeder.stop()


def _producer(site: Site) -> Producer:
    return Producer(
        {
            "bootstrap.servers": site.settings.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 10,
            "log_level": 0,
        }
    )


def _produce(producer: Any, topic: str, value: bytes, id_: uuid.UUID) -> None:
    try:
        producer.produce(topic, value, str(id_))
    except BufferError:
        producer.flush()
        producer.produce(topic, value, str(id_))
    producer.poll(0)
