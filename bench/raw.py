"""The limit: a transactional producer that has its records in memory: `python -m bench.raw`.

Reads a range of topics, keeps the records as they are, and publishes them again, bytes and
headers, in transactions of a given size, when a line comes on its stdin. Invariant: nothing but
producing and committing happens between that line and the word `done`.
"""

import argparse
import gc
import json
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.child import Child, child, module
from bench.ends import Ends

Range = Mapping[str, list[tuple[int, int, int]]]
"""Topic -> (partition, first offset, end) of each partition."""

_Record = tuple[str, bytes, bytes, list[tuple[str, bytes]]]


class Raw:
    """A producer that holds its records and waits to be told."""

    def __init__(self, running: Child) -> None:
        self._child = running
        self.pid = running.pid
        self.records = int(running.hear())

    def go(self) -> None:
        """Publish everything; returns when the last transaction is committed."""
        self._child.tell("go")
        self._child.hear()


@contextmanager
def raw(bootstrap_servers: str, copied: Range, transaction: int) -> Iterator[Raw]:
    """A raw producer of the records in this range."""
    command = module("bench.raw", bootstrap_servers, str(transaction), json.dumps(copied))
    with child("the raw producer", command) as running:
        yield Raw(running)


def between(before: Ends, after: Ends) -> dict[str, list[tuple[int, int, int]]]:
    """The range from one time to another."""
    return {
        topic: [(place, before[topic][place], end) for place, end in places.items()]
        for topic, places in after.items()
    }


def _consumer(bootstrap_servers: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "bench.raw",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )


def _load(consumer: Consumer, copied: Range) -> list[_Record]:
    """Every record of the range, shuffled: partition after partition would make bigger batches."""
    wanted = {
        (topic, place): (first, end)
        for topic, places in copied.items()
        for place, first, end in places
        if end > first
    }
    consumer.assign([TopicPartition(*at, first) for at, (first, _) in wanted.items()])
    records: list[_Record] = []
    while wanted:
        for message in consumer.consume(10_000, 0.2):
            at = (message.topic(), message.partition())
            if message.error() is not None:  # the end of a partition
                wanted.pop(at, None)
            elif at in wanted and message.offset() < wanted[at][1]:
                records.append((at[0], message.value(), message.key(), message.headers()))
            else:
                wanted.pop(at, None)
    random.Random(0).shuffle(records)  # noqa: S311 - the same in every run
    return records


def _produce(producer: Any, records: list[_Record], transaction: int) -> None:
    for start in range(0, len(records), transaction):
        producer.begin_transaction()
        for topic, value, key, headers in records[start : start + transaction]:
            producer.produce(topic, value, key, headers=headers)
        producer.commit_transaction()


def main() -> None:
    """Load, say how many, wait for the word, publish."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.raw",
        description=__doc__,
        epilog="""Example: python -m bench.raw 127.0.0.1:9092 5000 '{"saec.x": [[0, 0, 100]]}'""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bootstrap_servers")
    parser.add_argument("transaction", type=int, help="records a transaction")
    parser.add_argument("copied", type=json.loads, help="the range, as JSON")
    given = parser.parse_args()
    gc.disable()
    consumer = _consumer(given.bootstrap_servers)
    records = _load(consumer, given.copied)
    consumer.close()
    producer = Producer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "transactional.id": "bench.raw",
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 262_144,
            "log_level": 0,
        }
    )
    producer.init_transactions()
    sys.stdout.write(f"{len(records)}\n")
    sys.stdout.flush()
    sys.stdin.readline()
    _produce(producer, records, given.transaction)
    sys.stdout.write("done\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
