"""A database that goes back under connections that go on: put in place again, or failed over."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from saec.clock import SystemClock
from saec.contracts.status import Status
from saec.errors import ConfigurationError, StoreChangedError
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.recover.behind import refuse_behind
from saec.store.engine import open_engine
from tests.outages.grounds import wait_until
from tests.recover.scene import Scene

HOUR_MS = 3_600_000


@contextmanager
def consumer(scene: Scene) -> Iterator[IngestLoop]:
    """What `consumers.requests` runs."""
    engine = open_engine(scene.settings.database_url)
    topic, check = scene.settings.topics.requests, partial(refuse_behind, scene.settings, engine)
    positions = StoredPositions(engine, topic, check)
    taker = RequestIntake(scene.settings, engine, scene.settings.shards, positions)
    intake = opener(scene.settings, engine, "requests", topic, positions)
    loop = IngestLoop(intake, taker, SystemClock(), "requests")
    try:
        yield loop
    finally:
        loop.close()
        engine.dispose()


def take(loop: IngestLoop, records: int) -> None:
    """Take so many records; whatever is raised is raised here."""
    taken: list[int] = []

    def all_taken() -> bool:
        taken.append(loop.run_once())
        return sum(taken) >= records

    wait_until(all_taken)


def refused(loop: IngestLoop) -> str:
    """Take the next record, which ends the loop; why."""
    store = loop._taker.store

    def stored(*args: Any) -> Any:
        answers = store(*args)
        loop.stop()  # it was not refused
        return answers

    loop._taker.store = stored  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"went back in time.*run `saec recover`") as why:
        loop.run()
    return str(why.value)


@pytest.fixture
def one(make_scene: Callable[..., Scene]) -> Scene:
    """One partition and one shard."""
    return make_scene(shards=1, partitions=1)


def test_the_next_batch_after_tables_were_put_back_lifts_no_position(one: Scene) -> None:
    """Or nobody could find out any more: the cancelled one would leave, the accepted one never."""
    with consumer(one) as loop:
        cancelled = one.ask(due_in_ms=8_000)
        take(loop, 1)
        one.copy_tables()
        accepted = one.ask(due_in_ms=8_000, customers=("bia",))
        one.cancel(cancelled)
        take(loop, 2)
        assert one.answers(cancelled) == [Status.ACCEPTED, Status.CANCELLED]
        assert one.answers(accepted) == [Status.ACCEPTED]
        one.put_tables_back()
        later = one.ask(due_in_ms=8_000, customers=("caio",))
        refused(loop)
    one.recover()
    one.take_requests()
    one.dispatch()
    assert one.sent() == {(accepted, "bia"): 1, (later, "caio"): 1}


def test_what_had_left_before_tables_were_put_back_is_recovered(one: Scene) -> None:
    with consumer(one) as loop:
        first = one.ask(due_in_ms=HOUR_MS)
        take(loop, 1)
        one.copy_tables()
        left = one.ask(customers=("bia",))
        take(loop, 1)
        one.dispatch(until=lambda: one.installed.pending() == 1)
        one.put_tables_back()
        one.ask(due_in_ms=HOUR_MS, customers=("caio",))
        refused(loop)
    report = one.recover()
    assert (report.requests, report.halted) == (1, {})
    one.take_requests()
    assert one.installed.pending() == 2
    assert one.sent() == {(left, "bia"): 1}
    one.cancel(first)
    one.take_requests()
    assert one.answers(first) == [Status.ACCEPTED, Status.CANCELLED]


def test_what_is_lost_of_another_partition_is_seen(make_scene: Callable[..., Scene]) -> None:
    """A cancel would be answered UNKNOWN_REQUEST by whoever has its partition only."""
    scene = make_scene(shards=1, partitions=2)
    engine = open_engine(scene.settings.database_url)
    with consumer(scene) as loop:
        scene.ask(due_in_ms=HOUR_MS, partition=0)
        take(loop, 1)
        scene.copy_tables()
        scene.ask(due_in_ms=HOUR_MS, partition=1)
        take(loop, 1)
    scene.put_tables_back()
    with pytest.raises(ConfigurationError, match=r"partition 1 was answered up to 1.*saec recover"):
        refuse_behind(scene.settings, engine)
    engine.dispose()


@pytest.fixture
def positions(one: Scene) -> Iterator[StoredPositions]:
    """What a consumer knows of the positions; partition 0 stands at 5."""
    engine = open_engine(one.settings.database_url)
    known = StoredPositions(engine, one.settings.topics.requests)
    known.save({0: 5})
    known.read()
    yield known
    engine.dispose()


TOPIC = "topic = (SELECT topic_prefix || 'requests' FROM installation)"
WAITS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
# What was done -> how the database looks after it.
CHANGED = {
    "put back": f"UPDATE positions SET next_offset = 3 WHERE {TOPIC}",
    "put back to where it was": f"UPDATE positions SET next_offset = next_offset WHERE {TOPIC}",
    "gone": f"DELETE FROM positions WHERE {TOPIC}",
    "moved by another member": f"UPDATE positions SET next_offset = 7 WHERE {TOPIC}",
    "tables made anew": "CREATE TEMPORARY TABLE was AS SELECT * FROM positions; "
    "TRUNCATE positions; INSERT INTO positions SELECT * FROM was; DROP TABLE was",
    "installation put back": "UPDATE installation SET shards = shards",
}


@pytest.mark.parametrize("done", CHANGED)
def test_a_batch_is_stored_only_where_it_began(
    one: Scene, positions: StoredPositions, done: str
) -> None:
    one.installed.execute(CHANGED[done])
    before = one.installed.sql(f"SELECT next_offset FROM positions WHERE {TOPIC}")
    with pytest.raises(StoreChangedError), positions.transaction([0]):
        pytest.fail("stored")
    assert one.installed.sql(f"SELECT next_offset FROM positions WHERE {TOPIC}") == before
    positions.read()  # everything is looked at anew
    with positions.transaction([0]):
        pass


@pytest.mark.parametrize("done", CHANGED)
def test_a_batch_is_answered_only_while_it_stands(
    one: Scene, positions: StoredPositions, done: str
) -> None:
    with positions.transaction([0]):
        pass
    positions.confirm([0])
    one.installed.execute(CHANGED[done])
    with pytest.raises(StoreChangedError):
        positions.confirm([0])


def test_another_server_is_another_database(
    one: Scene, positions: StoredPositions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover behind a pooler no connection was cut, and the positions may be the same."""
    from saec.store import ground  # noqa: PLC0415

    elsewhere = ground._LOOK.replace("pg_postmaster_start_time()", "now()")
    assert elsewhere != ground._LOOK
    monkeypatch.setattr(ground, "_LOOK", elsewhere)
    with pytest.raises(StoreChangedError, match="failover"), positions.transaction([0]):
        pytest.fail("stored")


def test_a_zombie_stores_nothing_while_a_recovery_is_under_way(
    one: Scene, positions: StoredPositions
) -> None:
    one.installed.execute("UPDATE installation SET recovering = true")
    for ask in (positions.read, partial(positions.confirm, [0])):
        with pytest.raises(ConfigurationError, match="run `saec recover` again"):
            ask()
    with pytest.raises(ConfigurationError), positions.transaction([0]):
        pytest.fail("stored")


def test_a_zombie_that_is_storing_when_a_recovery_begins_is_waited_for(
    one: Scene, positions: StoredPositions
) -> None:
    """What it stores is there before the positions are read from which is recovered."""
    one.installed.execute(f"DELETE FROM positions WHERE {TOPIC}")
    one.ask(due_in_ms=HOUR_MS)
    one.take_requests()
    positions.read()
    epochs = one.installed.sql("SELECT epoch FROM shards")
    with ThreadPoolExecutor() as threads:
        with positions.transaction([0]):
            recovering = threads.submit(one.recover)
            wait_until(lambda: one.installed.sql(WAITS) == [(1,)])
            assert one.installed.sql("SELECT epoch FROM shards") == epochs
        recovering.result()
    assert one.installed.sql("SELECT epoch FROM shards") != epochs


def test_a_cancel_that_was_answered_before_its_request_keeps_its_effect(
    make_scene: Callable[..., Scene],
) -> None:
    """The request was stored, and a cancel in another partition stopped it and was answered."""
    scene = make_scene(shards=1, partitions=2)
    scene.take_requests()
    scene.back_up()
    asked = scene.ask(partition=0)
    scene.take_requests()
    scene.cancel(asked, partition=1)
    scene.take_requests()
    assert scene.answers(asked) == [Status.ACCEPTED, Status.CANCELLED]
    topic = scene.settings.topics.requests
    group = Consumer(
        {
            "bootstrap.servers": scene.settings.bootstrap_servers,
            "group.id": scene.settings.group_id("requests"),
        }
    )
    # As if the answer to the request had not been committed yet.
    group.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    group.close()
    scene.restore()
    report = scene.recover()
    assert (report.requests, report.ahead, report.cancels, report.halted) == (0, 1, 1, {})
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {}
