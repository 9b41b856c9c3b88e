"""The limit of lateness, a process of its own: `python -m bench.limit_stream`.

A transactional producer that knows in memory what is due when: one transaction for whatever is due.
Invariant: it looks nothing up and remembers nothing, so nobody can be less late by this way of
publishing.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

from bench.child import child, module
from bench.workload import Singles, record_value


@contextmanager
def limit_stream(bootstrap_servers: str, topic: str, asked: Singles) -> Iterator[int]:
    """The producer, for what is asked; its process id."""
    command = module("bench.limit_stream", bootstrap_servers, topic)
    with child("the producer of the stream", command) as running:
        due = [(due_ms, id_.decode()) for id_, due_ms in asked.expected().items()]
        running.tell(json.dumps(due))
        running.hear()
        yield running.pid


def _publish(producer: Any, topic: str, due: list[tuple[int, str]]) -> None:
    at = 0
    while at < len(due):
        now_ms = time.time_ns() // 1_000_000
        if due[at][0] > now_ms:
            time.sleep((due[at][0] - now_ms) / 1000)
            continue
        producer.begin_transaction()
        while at < len(due) and due[at][0] <= now_ms:
            id_ = due[at][1].encode()
            producer.produce(topic, record_value(id_), id_)
            at += 1
        producer.commit_transaction()


def main() -> None:
    """Read what is due from stdin, publish it when it is."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.limit_stream",
        description=__doc__,
        epilog="Example: python -m bench.limit_stream 127.0.0.1:9092 saec.dispatch.sms < due.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bootstrap_servers")
    parser.add_argument("topic")
    given = parser.parse_args()
    gc.disable()
    producer = Producer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "transactional.id": "bench.limit",
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "log_level": 0,
        }
    )
    producer.init_transactions()
    due = json.loads(sys.stdin.readline())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _publish(producer, given.topic, due)
    sys.stdin.read()


if __name__ == "__main__":
    main()
