"""The limit of lateness, a process of its own: `python -m bench.limit_stream`.

A transactional producer that knows in memory what is due when: one transaction for whatever is due.
Invariant: it looks nothing up and remembers nothing, so nobody can be less late by this way of
publishing.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bench.workload import Singles, record_value

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def limit_stream(bootstrap_servers: str, topic: str, asked: Singles) -> Iterator[int]:
    """The producer, for what is asked; its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.limit_stream", bootstrap_servers, topic],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdin:
            due = [(due_ms, id_.decode()) for id_, due_ms in asked.expected().items()]
            process.stdin.write(json.dumps(due) + "\n")
            process.stdin.flush()
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


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
    _publish(producer, given.topic, json.loads(sys.stdin.readline()))
    sys.stdin.read()


if __name__ == "__main__":
    main()
