"""A cancel against a claim of the same slices, in two threads on the real database."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from saec.contracts.status import RequestStatus, Status
from saec.dispatch.claim import claim_due
from saec.store import cancels, shards
from saec.store.engine import Connection, transaction
from saec.store.shards import Owned
from tests.dispatch.kit import claimed
from tests.ingest.kit import ID, OTHER_ID, Ingest, cancel, schedule

ROUNDS = 40
TIMEOUT_S = 60.0
ME = "worker"
FOUR: dict[str, Any] = {"customers": ["a", "b", "c", "d"], "channels": ["EMAIL"]}


@pytest.fixture
def racing(make_ingest: Callable[..., Ingest]) -> Iterator[Ingest]:
    """Ingest that takes requests which are due at once, since their records are of long ago."""
    ingest = make_ingest(slice_recipients=1)
    yield ingest
    ingest.execute("UPDATE shards SET owner = NULL, batch_no = 0")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def own_all(ingest: Ingest) -> dict[int, Owned]:
    with transaction(ingest.engine) as connection:
        seen = shards.look(connection, range(ingest.settings.shards))
        return shards.compare_and_set(connection, ME, seen)


def ask(ingest: Ingest) -> UUID:
    """A request of four slices that is due."""
    request_id = uuid4()
    long_ago_ms = 1_600_000_000_000
    value = schedule(request_id, due_at=long_ago_ms, **FOUR)
    (status,) = ingest.answer(ingest.record(value, appended_at_ms=long_ago_ms))
    assert status.status is Status.ACCEPTED
    return request_id


def stop(ingest: Ingest, request_id: UUID, start: threading.Barrier | None = None) -> RequestStatus:
    if start is not None:
        start.wait(TIMEOUT_S)
    (status,) = ingest.answer(ingest.record(cancel(request_id)))
    return status


def claim_two(ingest: Ingest, owned: Mapping[int, Owned], start: threading.Barrier) -> set[int]:
    """Claim two messages; returns the numbers of their slices."""
    start.wait(TIMEOUT_S)
    claim, _ = claim_due(ingest.engine, ME, owned, (), 2)
    return {one.slice_no for one in claimed(ingest.engine, claim)}


def claim_slice(connection: Connection, request_id: UUID, slice_no: int) -> None:
    connection.exec_driver_sql(
        "INSERT INTO claims (shard, batch_no, seqs) SELECT shard, 1, ARRAY[seq] FROM pending"
        " WHERE request_id = %(id)s::uuid AND slice_no = %(slice_no)s",
        {"id": str(request_id), "slice_no": slice_no},
    )


def test_nothing_is_both_stopped_and_claimed_however_they_meet(
    racing: Ingest, pool: ThreadPoolExecutor
) -> None:
    owned = own_all(racing)
    met = set()
    for number in range(ROUNDS):
        request_id, start = ask(racing), threading.Barrier(2)
        # Half of the slices at most: so some can be stopped, whoever comes first.
        claiming = pool.submit(claim_two, racing, owned, start)
        stopping = pool.submit(stop, racing, request_id, start)
        named, status = claiming.result(TIMEOUT_S), stopping.result(TIMEOUT_S)
        left = set(racing.pending_slices(request_id))
        assert named == left, f"round {number}: slices {named} claimed, {left} not stopped"
        assert status.status is Status.CANCELLED
        assert status.counts["messages_stopped"] == 4 - len(named)
        assert status.counts["messages_left"] == len(named)
        met.add(len(named))
        racing.execute("TRUNCATE pending, claims")
    assert met <= {0, 2}


def test_a_cancel_waits_for_the_claim_that_is_being_made_and_respects_it(
    racing: Ingest, pool: ThreadPoolExecutor
) -> None:
    owned, request_id = own_all(racing), ask(racing)
    with transaction(racing.engine) as connection:
        shards.lock_mine(connection, ME, owned)
        stopping = pool.submit(stop, racing, request_id)
        wait_until_it_waits_for_a_lock(racing, stopping)
        claim_slice(connection, request_id, 2)
    status = stopping.result(TIMEOUT_S)
    assert (status.status, status.counts["messages_left"]) == (Status.CANCELLED, 1)
    assert racing.pending_slices(request_id) == [2]


def test_a_claim_waits_for_the_cancel_that_is_being_decided_and_respects_it(
    racing: Ingest, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned, request_id = own_all(racing), ask(racing)
    with held(monkeypatch) as (stopped, go_on):
        stopping = pool.submit(stop, racing, request_id)
        assert stopped.wait(TIMEOUT_S)
        claiming = pool.submit(claim_due, racing.engine, ME, owned, (), 100)
        wait_until_it_waits_for_a_lock(racing, claiming)
        go_on.set()
    assert stopping.result(TIMEOUT_S).status is Status.CANCELLED
    claim, _ = claiming.result(TIMEOUT_S)
    assert claim is None
    assert racing.pending_slices(request_id) == []


def test_a_cancel_waits_for_the_request_that_has_looked_for_it_and_stops_it(
    racing: Ingest, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, late = racing.record(schedule(), partition=1), racing.record(cancel(ID))
    with held(monkeypatch, "hold_unknown") as (looked, go_on):
        asking = pool.submit(racing.take, request)
        assert looked.wait(TIMEOUT_S)
        stopping = pool.submit(racing.answer, late)
        wait_until_it_waits_for_a_lock(racing, stopping)
        go_on.set()
    assert racing.late(asking.result(TIMEOUT_S)) == {}
    assert [one.status for one in stopping.result(TIMEOUT_S)] == [Status.CANCELLED]
    assert racing.pending_slices() == []


def test_a_request_waits_for_the_cancel_that_has_looked_for_it_and_is_stopped(
    racing: Ingest, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, late = racing.record(schedule(), partition=1), racing.record(cancel(ID))
    with held(monkeypatch, "insert_answers") as (looked, go_on):
        stopping = pool.submit(racing.answer, late)
        assert looked.wait(TIMEOUT_S)
        asking = pool.submit(racing.take, request)
        wait_until_it_waits_for_a_lock(racing, asking)
        go_on.set()
    assert [one.status for one in stopping.result(TIMEOUT_S)] == [Status.UNKNOWN_REQUEST]
    told = racing.late(asking.result(TIMEOUT_S))
    assert [one.status for one in told.values()] == [Status.CANCELLED]
    assert racing.pending_slices() == []


def test_requests_that_are_stored_at_the_same_time_do_not_wait_for_each_other(
    racing: Ingest, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = racing.record(schedule()), racing.record(schedule(OTHER_ID), partition=1)
    with held(monkeypatch, "hold_unknown") as (looked, go_on):
        asking = pool.submit(racing.take, first)
        assert looked.wait(TIMEOUT_S)
        monkeypatch.undo()
        assert racing.answer(second)[0].status is Status.ACCEPTED
        go_on.set()
    asking.result(TIMEOUT_S)


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch, name: str = "insert_answers"
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Who stores holds the transaction open at this step, until told to go on.

    By then a cancel has stopped slices, and a request has looked for cancels.
    """
    stopped, go_on = threading.Event(), threading.Event()
    step = getattr(cancels, name)

    def slowly(*args: Any) -> Any:
        found = step(*args)
        stopped.set()
        assert go_on.wait(TIMEOUT_S)
        return found

    monkeypatch.setattr(cancels, name, slowly)
    try:
        yield stopped, go_on
    finally:
        go_on.set()


def wait_until_it_waits_for_a_lock(ingest: Ingest, work: "Future[Any]") -> None:
    """Until a session of the test's database waits for a lock, or `work` did without."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    tries = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.01)):
        if work.done() or ingest.sql(waiting) != [(0,)]:
            return
        tries.wait(0.01)
    raise AssertionError("it neither waits nor ends")
