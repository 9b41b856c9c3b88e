"""A database that goes back under a worker that goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from saec.contracts.ledger import BatchCommitted
from saec.contracts.status import Status
from saec.dispatch import claim as claims
from saec.dispatch import round as rounds
from saec.dispatch.round import Worker
from saec.errors import ConfigurationError, StoreChangedError
from saec.recover.behind import refuse_behind_ledger
from saec.store import ground
from saec.store.engine import transaction
from saec.store.ground import GroundWatch
from tests.dispatch.kit import Installed
from tests.dispatch.test_worker import drive, take_all

MakeWorker = Callable[..., Worker]

POSITION = "UPDATE positions SET next_offset = {} WHERE partition = 0"
TABLES_MADE_ANEW = (
    "CREATE TEMPORARY TABLE was AS TABLE positions; TRUNCATE positions; "
    "INSERT INTO positions TABLE was; DROP TABLE was"
)
CHANGED = {
    "positions lower": POSITION.format("next_offset - 1"),
    "positions put back to where they were": POSITION.format("next_offset"),
    "positions gone": "DELETE FROM positions",
    "tables made anew": TABLES_MADE_ANEW,
    "a recovery since": "UPDATE installation SET recovering = false",
}


@pytest.fixture
def watch(installed: Installed) -> GroundWatch:
    """What a worker remembers."""
    installed.ask(due_in_ms=60_000)
    seen = GroundWatch([installed.settings.topics.requests, installed.settings.topics.customers])
    compare(installed, seen)
    return seen


def compare(installed: Installed, watch: GroundWatch) -> None:
    with transaction(installed.engine) as connection:
        watch.compare(connection)


def test_positions_that_others_move_are_no_change(installed: Installed, watch: GroundWatch) -> None:
    installed.ask(due_in_ms=60_000)
    compare(installed, watch)
    installed.execute("DELETE FROM positions WHERE partition > 90")
    compare(installed, watch)


@pytest.mark.parametrize("done", CHANGED)
def test_a_claim_sees_that_the_database_went_back(
    installed: Installed, watch: GroundWatch, done: str
) -> None:
    installed.execute(CHANGED[done])
    with pytest.raises(StoreChangedError):
        compare(installed, watch)


def test_another_server_is_seen(
    installed: Installed, watch: GroundWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ground._LOOK.replace("pg_postmaster_start_time()", "now()")
    monkeypatch.setattr(ground, "_LOOK", elsewhere)
    with pytest.raises(StoreChangedError, match="failover"):
        compare(installed, watch)


def test_nothing_is_claimed_once_the_database_went_back(
    installed: Installed, make_worker: MakeWorker
) -> None:
    """In place, under a worker that is idle: what came due is what a cancel had stopped."""
    first = installed.ask(due_in_ms=3_600_000)
    worker = make_worker()
    take_all(worker, installed)
    before = installed.owners()
    installed.execute("CREATE TABLE was AS TABLE pending")
    assert installed.cancel(first).status is Status.CANCELLED
    installed.execute(
        "INSERT INTO pending TABLE was; UPDATE pending SET due_at_ms = 0; "
        "UPDATE positions SET next_offset = next_offset - 1"
    )
    doubted: list[Exception] = []
    real = worker._doubt
    worker._doubt = lambda error: (doubted.append(error), real(error))[1]  # type: ignore[method-assign]
    drive(worker, until=lambda: bool(doubted))
    assert isinstance(doubted[0], StoreChangedError)
    assert (installed.sent(), installed.owners()) == ({}, before)


def test_a_claim_that_was_lost_while_its_batch_was_open_never_happens(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover took the claim; by then a cancel is answered that knows nothing of it."""
    worker = make_worker()
    take_all(worker, installed)
    victim, answered = installed.ask(), []

    def failing_over(*args: Any) -> None:
        if not answered:
            installed.execute("DELETE FROM claims")
            answered.append(installed.cancel(victim).status)
        return confirm(*args)

    confirm = claims.confirm
    monkeypatch.setattr(rounds, "confirm", failing_over)
    drive(worker, until=lambda: bool(answered) and len(worker.owned) == installed.settings.shards)
    assert answered == [Status.CANCELLED]
    assert installed.sent() == {}
    assert not [one for one in installed.ledger() if isinstance(one, BatchCommitted)]


def test_whoever_starts_to_answer_cancels_waits_for_a_batch_whose_claim_is_lost(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim was lost after the batch was seen in the ledger: it may happen."""
    worker = make_worker()
    take_all(worker, installed)
    installed.ask()
    settings, waited = installed.settings, list[bool]()

    def failing_over(*args: Any) -> None:
        confirm(*args)
        if not waited:
            installed.execute("DELETE FROM claims")
            monkeypatch.setattr("saec.kafka.stretches.settled", settling)
            with pytest.raises(InterruptedError):
                refuse_behind_ledger(settings, installed.engine)

    def settling(*_args: Any, **_named: Any) -> Any:
        waited.append(True)
        raise InterruptedError

    confirm = claims.confirm
    monkeypatch.setattr(rounds, "confirm", failing_over)
    drive(worker, until=lambda: sum(installed.sent().values()) == 1)
    assert waited
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="holds what the database does not know") as why:
        refuse_behind_ledger(settings, installed.engine)
    assert "saec recover" in str(why.value)
