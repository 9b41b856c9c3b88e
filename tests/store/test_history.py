"""Accounts of many requests at once, and what is pending of one requester."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from saec.contracts.events import Channel, Lane
from saec.store.engine import Engine, transaction
from saec.store.history import (
    PendingHour,
    Skipped,
    State,
    read_account,
    read_accounts,
    read_pending,
)
from tests.store.stored import RECIPIENTS, Stored, empty, store

HOUR_MS = 3_600_000
BOTH = Channel.EMAIL.bit | Channel.SMS.bit


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    """A database without requests."""
    empty(migrated)
    return migrated


def test_accounts_come_as_they_were_asked_for(engine: Engine) -> None:
    several = [Stored(state, channels=BOTH) for state in State for _ in range(5)]
    store(engine, several)
    asked = sorted(one.id for one in several)
    with transaction(engine, snapshot=True) as connection:
        accounts = read_accounts(connection, [*asked[:7], uuid4(), *asked[7:], asked[0]])
        each = [read_account(connection, id_) for id_ in asked]
    assert accounts == [*each, each[0]]
    states = {one.id: one.state for one in several}
    assert [account.state for account in accounts] == [states[a.request_id] for a in accounts]


def test_each_account_has_its_own_skips(engine: Engine) -> None:
    skipped, sent = Stored(State.NOT_SENT, channels=BOTH), Stored(State.SENT, channels=BOTH)
    store(engine, [skipped, sent])
    with transaction(engine, snapshot=True) as connection:
        first, second = read_accounts(connection, [skipped.id, sent.id])
    assert first.skips == (
        Skipped(Channel.EMAIL, "opted_out", RECIPIENTS),
        Skipped(Channel.SMS, "opted_out", RECIPIENTS),
    )
    assert second.skips == ()


@pytest.mark.parametrize("stored", [0, 1, 300])
def test_many_take_as_few_statements_as_one(engine: Engine, stored: int) -> None:
    several = [Stored() for _ in range(stored)]
    store(engine, several)
    statements: list[Any] = []
    with transaction(engine, snapshot=True) as connection:
        event.listen(connection, "before_cursor_execute", lambda *said: statements.append(said))
        assert len(read_accounts(connection, [one.id for one in several])) == stored
        assert len(statements) == 2


def test_one_that_is_not_stored_has_no_account(engine: Engine) -> None:
    with transaction(engine, snapshot=True) as connection:
        assert read_account(connection, uuid4()) is None
        assert read_accounts(connection, []) == []


def test_what_is_pending_of_one_requester(engine: Engine) -> None:
    store(
        engine,
        [
            Stored(State.SCHEDULED, "billing", due_at_ms=1),
            Stored(State.SCHEDULED, "billing", due_at_ms=2),
            Stored(State.SCHEDULED, "crm", due_at_ms=3),
            Stored(State.SCHEDULED, "crm", due_at_ms=HOUR_MS, lane=1),
            Stored(State.SENT, "billing"),
        ],
    )

    def hour(at_ms: int, lane: Lane, requests: int) -> PendingHour:
        return PendingHour(at_ms, lane, Channel.EMAIL, requests, requests * RECIPIENTS)

    with transaction(engine, snapshot=True) as connection:
        theirs = hour(HOUR_MS, Lane.CAMPAIGN, 1)
        assert read_pending(connection, "billing") == [hour(0, Lane.TRANSACTIONAL, 2)]
        assert read_pending(connection, "crm") == [hour(0, Lane.TRANSACTIONAL, 1), theirs]
        assert read_pending(connection) == [hour(0, Lane.TRANSACTIONAL, 3), theirs]
        assert read_pending(connection, "nobody") == []
