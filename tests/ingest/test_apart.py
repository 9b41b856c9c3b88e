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


def publish(settings: Settings, values: dict[str, dict[str, Any]], **config: str) -> None:
    """Publish an event about each id, keyed by it."""
    servers = {"bootstrap.servers": settings.bootstrap_servers, "log_level": 0}
    with closing(Producer({**servers, **config})) as producer:
        for id_, value in values.items():
            producer.produce(settings.topics.requests, json.dumps({"id": id_, **value}), id_)
        assert producer.flush(30) == 0


def consumer(settings: Settings) -> IngestLoop:
    """A consumer of requests, in small batches."""
    engine, topic = open_engine(settings.database_url), settings.topics.requests
    positions = StoredPositions(engine, topic)
    taker = RequestIntake(settings, engine, settings.shards, positions)
    intake = opener(settings, engine, "requests", topic, positions)
    return IngestLoop(intake, taker, SystemClock(), "requests")


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
        wait_until(lambda: len(installed.statuses()) >= 2 * REQUESTS)
    finally:
        for loop, thread in zip(loops, threads, strict=True):
            loop.stop()
            thread.join()
            loop.close()
    assert installed.pending() == 0
    told = defaultdict(list)
    for answer in installed.statuses():
        told[answer.request_id].append(answer.status)
    assert told.keys() == set(ids)
    late = [said for said in told.values() if Status.UNKNOWN_REQUEST in said]
    # In whatever order: the two consumers answer apart as well.
    both = {Status.UNKNOWN_REQUEST, Status.ACCEPTED, Status.CANCELLED}
    assert late
    assert all(len(said) == len(both) and set(said) == both for said in late)
    others = [said for said in told.values() if Status.UNKNOWN_REQUEST not in said]
    assert all(sorted(said) == [Status.ACCEPTED, Status.CANCELLED] for said in others)
    engine.dispose()
