"""Three readers of the channel topics: one all the time, one at the end, and Kafka's own.

All read_committed and from the first record. Invariant: what they saw is compared place by place.
"""

import re
import subprocess
import threading
import time
from collections.abc import Collection, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from faults.unreadable import Batch, Lost
from faults.wire import Record
from saec.embedded.kafka import console_tool

_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_PLACE = re.compile(r"^Partition:(\d+)\tOffset:(\d+)")
_READ_TIMEOUT_S = 120.0
_END = -191  # of a partition
_CANNOT = (-198, -199)  # decompress, parse


class Follower:
    """Reads topics in a thread from the first record on, until `stop`."""

    def __init__(self, bootstrap_servers: str, topics: Collection[str]) -> None:
        self.records: list[Record] = []
        self._stop = threading.Event()
        self._consumer = _consumer(bootstrap_servers, "follower")
        self._consumer.assign(_partitions(self._consumer, topics))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.1):
                if message.error() is None:
                    self.records.append(_record(message))

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


class Watcher:
    """Watches up to where a group has answered a topic: (instant, partition -> offset)."""

    def __init__(self, bootstrap_servers: str, group: str, topic: str) -> None:
        self.seen: list[tuple[int, dict[int, int]]] = []
        self._stop = threading.Event()
        self._consumer = _consumer(
            bootstrap_servers, group, **{"isolation.level": "read_uncommitted"}
        )
        self._wanted = _partitions(self._consumer, [topic])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            try:
                found = self._consumer.committed(self._wanted, timeout=5)
            except KafkaException:
                continue  # the broker is away
            # Taken after the answer: what it says was so by then.
            now_ms = time.time_ns() // 1_000_000 + 1
            offsets = {one.partition: one.offset for one in found if one.error is None}
            self.seen.append((now_ms, offsets))

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


def answered(bootstrap_servers: str, group: str, topic: str) -> dict[int, int]:
    """Up to where a group has answered a topic: partition -> offset, where there is one."""
    consumer = _consumer(bootstrap_servers, group, **{"isolation.level": "read_uncommitted"})
    try:
        found = consumer.committed(_partitions(consumer, [topic]), timeout=10)
    finally:
        consumer.close()
    return {one.partition: one.offset for one in found if one.error is None and one.offset >= 0}


def read_all(
    bootstrap_servers: str, topics: Collection[str], lost: Lost | None = None
) -> list[Record]:
    """Every committed record of these topics, to the end as it is now; `lost` are passed over."""
    consumer = _consumer(bootstrap_servers, "final", **{"enable.partition.eof": True})
    wanted = _partitions(consumer, topics)
    consumer.assign(wanted)
    found: list[Record] = []
    ended: set[tuple[str, int]] = set()
    deadline_s = time.monotonic() + _READ_TIMEOUT_S
    while len(ended) < len(wanted):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the ends of {topics} were not reached")
        for message in consumer.consume(1_000, 0.2):
            if message.error() is None:
                found.append(_record(message))
            elif message.error().code() == _END:
                ended.add((message.topic(), message.partition()))
            elif message.error().code() in _CANNOT:
                _pass_over(consumer, message, lost or {})
    consumer.close()
    return found + [
        _lost(topic, partition, offset, batch)
        for (topic, partition), batches in (lost or {}).items()
        for batch in batches
        for offset in range(batch.first, batch.last + 1)
    ]


def _pass_over(consumer: Consumer, message: Any, lost: Lost) -> None:
    """Read on behind a batch that is known to be unreadable."""
    place, offset = (message.topic(), message.partition()), message.offset()
    for batch in lost.get(place, ()):
        if batch.first <= offset <= batch.last:
            consumer.seek(TopicPartition(*place, batch.last + 1))
            return
    raise TimeoutError(f"{place} was readable when it was looked at, and is not at {offset}")


def read_by_console(bootstrap_servers: str, topic: str) -> set[tuple[str, int, int]]:
    """Where Kafka's own console consumer found the records of a topic."""
    arguments = [
        *("--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"),
        *("--isolation-level", "read_committed", "--timeout-ms", "8000"),
    ]
    for name in ("print.partition", "print.offset"):
        arguments += ["--formatter-property", f"{name}=true"]
    arguments += ["--formatter-property", "print.value=false"]
    done = subprocess.run(
        console_tool(_CONSUMER, arguments), capture_output=True, timeout=300, check=False
    )
    places = set()
    for line in done.stdout.decode(errors="replace").splitlines():
        found = _PLACE.match(line)
        if found:
            places.add((topic, int(found[1]), int(found[2])))
    return places


def _consumer(bootstrap_servers: str, group: str, **overrides: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "reconnect.backoff.max.ms": 500,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            **overrides,
        }
    )


def _partitions(consumer: Consumer, topics: Iterable[str]) -> list[TopicPartition]:
    listed = consumer.list_topics(timeout=30).topics
    return [
        TopicPartition(topic, partition, 0)
        for topic in topics
        for partition in listed[topic].partitions
    ]


def _lost(topic: str, partition: int, offset: int, batch: Batch) -> Record:
    return Record(topic, partition, offset, batch.appended_ms, None, None, (), 0, lost=True)


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        time.time_ns() // 1_000_000,
    )
