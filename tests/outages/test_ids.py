"""An outage of PostgreSQL uses no transactional ids up, and shares no partitions out anew."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from saec.clock import SystemClock
from saec.dispatch.round import Worker
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.kafka.intake import Intake
from saec.kafka.transaction import TransactionalProducer
from saec.settings import Settings
from saec.store.engine import Engine, open_engine
from tests.outages.grounds import Grounds, wait_until
from tests.outages.test_stopping_consumers import publish

TRIES = 12  # of an outage: minutes of a real one


class Hasty(SystemClock):
    """Waits a little where it is told to wait long, and counts it."""

    def __init__(self) -> None:
        self.waits = 0

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        self.waits += 1
        return super().wait(stop, min(timeout_s, 0.02))


@pytest.fixture
def settings(ruin: Callable[..., Settings]) -> Settings:
    """An installation of the test's own."""
    return ruin(shards=2, partitions=2)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Through the proxy."""
    made = open_engine(settings.database_url)
    yield made
    made.dispose()


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every transactional id that is used from here on."""
    used: list[str] = []
    begun = TransactionalProducer.__init__

    def begin(self: TransactionalProducer, *args: object, **kwargs: object) -> None:
        begun(self, *args, **kwargs)  # type: ignore[arg-type]
        used.append(self.transactional_id)

    monkeypatch.setattr(TransactionalProducer, "__init__", begin)
    return used


def test_of_a_consumer(
    settings: Settings, engine: Engine, grounds: Grounds, ids: list[str]
) -> None:
    topic, opened, clock = settings.topics.requests, list[Intake](), Hasty()
    positions = StoredPositions(engine, topic)
    open_intake = opener(settings, engine, "requests", topic, positions)

    def open_one() -> Intake:
        opened.append(open_intake())
        return opened[-1]

    loop = IngestLoop(open_one, RequestIntake(settings, engine, 2, positions), clock, "requests")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(loop.run)
        try:
            publish(settings, "requests", 4)
            wait_until(lambda: bool(opened) and committed(opened[0]) == 4)
            (intake,), before = opened, opened[0]._rebalances
            grounds.postgres.refuse()
            publish(settings, "requests", 4)
            tried = clock.waits
            wait_until(lambda: clock.waits >= tried + TRIES)
            grounds.postgres.mend()
            wait_until(lambda: committed(intake) == 8)
        finally:
            grounds.postgres.mend()
            loop.stop()
            running.result(60)
    assert opened == [intake]
    assert intake._rebalances == before
    assert len(ids) == 1
    loop.close()


def committed(intake: Intake) -> int:
    """How many records of the topic are answered, both partitions together."""
    assigned = intake._consumer.assignment()
    found = intake._consumer.committed(assigned, timeout=60) if assigned else []
    return sum(max(partition.offset, 0) for partition in found)


def test_of_a_worker(settings: Settings, engine: Engine, grounds: Grounds, ids: list[str]) -> None:
    worker = Worker(settings, engine, SystemClock())
    wait_until(lambda: worker.run_once() >= 0 and len(worker.owned) == 2)
    assert len(ids) == 1
    grounds.postgres.refuse()
    try:
        wait_until(lambda: worker.run_once() >= 0 and not worker.owned)
        for _ in range(TRIES):
            worker.run_once()
    finally:
        grounds.postgres.mend()
    assert len(ids) == 1
    wait_until(lambda: worker.run_once() >= 0 and len(worker.owned) == 2)
    assert len(set(ids)) == 2  # the doubt is settled under another one, once
    worker.close()
