"""SIGTERM to the consumers while they have records in hand; a second one ends each at once."""

import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.outages.grounds import Grounds, wait_until
from tests.outages.single import STOP_S, Process

Start = Callable[..., Process]
RECORDS, STOPS = 300, 4


@pytest.fixture
def settings(ruin: Callable[..., Settings]) -> Settings:
    """An installation of the test's own."""
    return ruin(shards=2, partitions=2)


@pytest.fixture
def installed(settings: Settings, grounds: Grounds) -> Iterator[Installed]:
    """The same, to look, past the proxies."""
    engine = open_engine(grounds.direct_dsn(settings.database_url))
    yield Installed(settings, engine)
    engine.dispose()


def request(id_: str) -> dict[str, object]:
    return {
        "type": "saec.v1.ScheduleRequested",
        "id": id_,
        "requester": "tests",
        "channels": ["PUSH"],
        "due_at": int(time.time() * 1000) + 86_400_000,
        "message": {"body": "Olá", "content_type": "text/plain"},
    }


def customer(id_: str) -> dict[str, object]:
    # With an address that is refused, so that there is an answer to count.
    return {"type": "saec.v1.CustomerRegistered", "id": id_, "email": "nobody"}


EVENTS = {"requests": request, "customers": customer}


def publish(settings: Settings, role: str, count: int) -> list[str]:
    """Publish events of a role's topic; returns their ids."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for one in ids:
        producer.produce(f"{settings.topic_prefix}{role}", json.dumps(EVENTS[role](one)), one)
    assert producer.flush(60) == 0
    return ids


@pytest.mark.parametrize("role", EVENTS)
def test_in_the_middle_of_batches(
    role: str, settings: Settings, installed: Installed, start: Start
) -> None:
    """Stopped as soon as it has taken a batch, again and again; each record is answered once."""
    module, small = f"consumers.{role}", {"SAEC_INGEST_BATCH_RECORDS": "5"}
    asked = publish(settings, role, RECORDS)
    stopped_early = 0
    for _ in range(STOPS):
        process = start(module, **small)
        process.wait_for("batch taken")
        process.stop()
        stopped_early += len(installed.statuses()) < RECORDS
    assert stopped_early > 1
    last = start(module)
    wait_until(lambda: len(installed.statuses()) >= RECORDS)
    last.stop()
    answered = Counter(s.request_id or s.customer_id for s in installed.statuses())
    assert answered == Counter(asked)


@pytest.mark.parametrize("role", EVENTS)
def test_a_second_signal_ends_it_at_once(
    role: str, settings: Settings, start: Start, grounds: Grounds
) -> None:
    process = start(f"consumers.{role}", BOUNDS="saec.process.LONGEST_STOP_S=600")
    publish(settings, role, 1)
    process.wait_for("batch taken")
    grounds.postgres.freeze()
    try:
        publish(settings, role, 1)
        threading.Event().wait(1.0)  # into the call that will not come back
        process.child.terminate()
        process.wait_for("stopping")
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(STOP_S) == 1
    finally:
        grounds.postgres.mend()
