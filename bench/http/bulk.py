"""Bulk: JSON lines, so many a call, one call after the other; and a producer with the same lines.

Invariant: the lines are in memory before the clock starts; it stops when Kafka has all of them.
"""

import json
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import urllib3
from confluent_kafka import Producer

from bench.http.bodies import bodies
from bench.http.counted import appended, held
from bench.http.endpoints import Running
from bench.meter import Meter
from bench.outcome import Run
from bench.site import Site

_CALL_S = 120.0
_Lines = Sequence[tuple[str, bytes]]


def called(endpoint: Running, lines: int, per_call: int, meter: Meter) -> Run:
    """By HTTP.

    Raises:
        RuntimeError: a call was answered otherwise than that every line is published.
    """
    every = [line for _, line in bodies(lines)]
    calls = [every[start : start + per_call] for start in range(0, lines, per_call)]
    joined = [(b"\n".join(call), len(call)) for call in calls]
    with urllib3.HTTPConnectionPool(endpoint.host, endpoint.port) as pool:
        return _timed(endpoint.site, lines, meter, lambda: _call(pool, endpoint, joined))


def produced(site: Site, lines: int, meter: Meter) -> Run:
    """By a producer in a loop."""
    every = list(bodies(lines))
    producer = Producer(
        {
            "bootstrap.servers": site.settings.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "queue.buffering.max.messages": lines,
            "log_level": 0,
        }
    )
    producer.list_topics(timeout=10)  # connected before the clock starts
    return _timed(site, lines, meter, lambda: _produce(producer, site, every))


def _timed(site: Site, lines: int, meter: Meter, work: Callable[[], None]) -> Run:
    before = appended(site)
    meter.restart()
    began_s = time.monotonic()
    work()
    seconds = time.monotonic() - began_s
    weights = meter.weights()
    seen = held(lines, appended(site) - before, seconds)
    return Run(seen.rate, seen, weights)


def _call(
    pool: urllib3.HTTPConnectionPool, endpoint: Running, calls: Sequence[tuple[bytes, int]]
) -> None:
    headers = {"Content-Type": "application/jsonl", **endpoint.headers}
    for body, lines in calls:
        answer = pool.urlopen("POST", "/v1/requests", body, headers, retries=False, timeout=_CALL_S)
        if answer.status != HTTPStatus.ACCEPTED or json.loads(answer.data)["published"] != lines:
            raise RuntimeError(f"a call of {lines} lines was answered {answer.status}")


def _produce(producer: Producer, site: Site, lines: _Lines) -> None:
    topic = site.settings.topics.requests
    for id_, line in lines:
        producer.produce(topic, line, id_)
        producer.poll(0)
    producer.flush()
