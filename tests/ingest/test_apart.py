"""A backlog of requests by Java's partitioner, and of their cancels by librdkafka's: none leaves.

On real parts. Five of six cancels stand in another partition than their request, and many of them
are read before it; with two consumers, by somebody else.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from confluent_kafka import Producer

from saec.clock import SystemClock
from saec.contracts.status import Status
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.outages.grounds import wait_until

REQUESTS = 200
HOUR_MS = 3_600_000
STOPPED = {Status.ACCEPTED, Status.CANCELLED}


def publish(settings: Settings, values: dict[str, dict[str, Any]], **config: str) -> None:
    """Publish an event about each id, keyed by it."""
    servers = {"bootstrap.servers": settings.bootstrap_servers, "log_level": 0}
    with closing(Producer({**servers, **config})) as producer:
        for id_, value in values.items():
            producer.produce(settings.topics.requests, json.dumps({"id": id_, **value}), id_)
        assert producer.flush(60) == 0


def consumer(settings: Settings) -> IngestLoop:
    """A consumer of requests, in small batches."""
    engine, topic = open_engine(settings.database_url), settings.topics.requests
    positions = StoredPositions(engine, topic)
    taker = RequestIntake(settings, engine, settings.shards, positions)
    intake = opener(settings, engine, "requests", topic, positions)
    return IngestLoop(intake, taker, SystemClock(), "requests")


def told(installed: Installed) -> dict[str | None, set[Status]]:
    """What was answered about each id, in whatever order: two consumers answer apart."""
    found: dict[str | None, set[Status]] = defaultdict(set)
    for answer in installed.statuses():
        found[answer.request_id].add(answer.status)
    return found


def is_stopped(installed: Installed, ids: list[str]) -> bool:
    said = told(installed)
    return all(said.get(id_, set()) >= STOPPED for id_ in ids)


@pytest.mark.parametrize("consumers", [1, 2])
def test_none_of_the_cancelled_leaves(
    make_installation: Callable[..., Settings], consumers: int
) -> None:
    settings = make_installation(partitions=6, ingest_batch_records=20)
    installed = Installed(settings, engine := open_engine(settings.database_url))
    ids = [str(uuid.uuid4()) for _ in range(REQUESTS)]
    request = {
        "type": "saec.v1.ScheduleRequested",
        "requester": "tests",
        "channels": ["EMAIL"],
        "customers": ["ana"],
        "due_at": installed.now_ms() + HOUR_MS,
        "message": {"body": "Olá", "content_type": "text/plain"},
    }
    stop = {"type": "saec.v1.CancelRequested", "requester": "tests"}
    publish(settings, dict.fromkeys(ids, request), partitioner="murmur2_random")
    publish(settings, dict.fromkeys(ids, stop))
    loops = [consumer(settings) for _ in range(consumers)]
    threads = [Thread(target=loop.run) for loop in loops]
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: is_stopped(installed, ids))
    finally:
        for loop, thread in zip(loops, threads, strict=True):
            loop.stop()
            thread.join()
            loop.close()
    assert installed.pending() == 0
    said = told(installed)
    assert said.keys() == set(ids)
    # Some were read before their requests, and none was answered anything else.
    assert {frozenset(one) for one in said.values()} == {
        frozenset(STOPPED),
        frozenset({*STOPPED, Status.UNKNOWN_REQUEST}),
    }
    engine.dispose()
