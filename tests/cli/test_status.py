"""`saec status` and `saec pending`, against rows put there by hand."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from saec.contracts.events import Channel, channels_to_bits
from saec.store.cancels import CancelRow, insert_answers
from saec.store.engine import transaction
from saec.store.pending import SkipRow, insert_skips
from saec.store.requests import RequestRow, SliceRow, insert_requests, insert_slices
from tests.cli.conftest import Run

HOUR_MS = 3_600_000
DUE_MS = 500_000 * HOUR_MS + 1_234
BOTH = channels_to_bits([Channel.EMAIL, Channel.SMS])


def store(
    engine: Engine,
    *,
    pending: int = 0,
    skipped: int = 0,
    stopped: int = 0,
    due_at_ms: int = DUE_MS,
    lane: int = 1,
) -> UUID:
    """A request of 20 messages (10 customers, two channels); the rest of them was sent."""
    id_ = uuid4()
    row = RequestRow(
        id_, "billing", "c1", BOTH, lane, due_at_ms, None, 10, 20, 1, bytes(16), 0, 0, DUE_MS
    )
    with transaction(engine) as connection:
        insert_requests(connection, [row])
        if pending:
            ids = tuple(str(n) for n in range(pending // 2))
            insert_slices(connection, [slice_row(id_, ids, due_at_ms, lane)])
        if skipped:
            insert_skips(connection, [SkipRow(id_, 0, Channel.SMS.bit, "opted_out", skipped)])
        if stopped:
            answer = CancelRow(0, 7, id_, "CANCELLED", True, stopped // 2, stopped, "billing", 0)
            insert_answers(connection, [answer])
    return id_


def slice_row(id_: UUID, customers: tuple[str, ...], due_at_ms: int, lane: int) -> SliceRow:
    return SliceRow(
        shard=0,
        lane=lane,
        due_at_ms=due_at_ms,
        request_id=id_,
        slice_no=0,
        expires_at_ms=None,
        channels=BOTH,
        recipients=len(customers),
        messages=2 * len(customers),
        requester="billing",
        campaign_id="c1",
        traceparent=None,
        customers=customers,
        schema_version=1,
        message=b"x",
    )


def account(here: Run, id_: UUID) -> dict[str, Any]:
    result = here("status", str(id_), "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.mark.parametrize(
    ("rows", "state", "portuguese", "sent"),
    [
        ({"pending": 20}, "SCHEDULED", "AGENDADA", 0),
        ({"pending": 4, "skipped": 1}, "SCHEDULED", "AGENDADA", 15),
        ({}, "SENT", "ENVIADA", 20),
        ({"skipped": 3}, "SENT", "ENVIADA", 17),
        ({"stopped": 10, "skipped": 4}, "SENT", "ENVIADA", 6),
        ({"stopped": 20}, "CANCELLED", "CANCELADA", 0),
        ({"stopped": 10, "skipped": 10}, "CANCELLED", "CANCELADA", 0),
        ({"skipped": 20}, "NOT_SENT", "NÃO ENVIADA", 0),
    ],
)
def test_the_counts_make_the_state(
    here: Run, engine: Engine, rows: dict[str, int], state: str, portuguese: str, sent: int
) -> None:
    told = account(here, store(engine, **rows))
    assert (told["state"], told["state_pt"]) == (state, portuguese)
    assert told["counts"] == {
        "total": 20,
        "pending": rows.get("pending", 0),
        "skipped": rows.get("skipped", 0),
        "cancelled": rows.get("stopped", 0),
        "sent": sent,
    }


def test_an_account_has_everything_but_the_message(here: Run, engine: Engine) -> None:
    told = account(here, store(engine, skipped=2))
    assert told["channels"] == ["EMAIL", "SMS"]
    assert (told["lane"], told["requester"], told["campaign_id"]) == ("CAMPAIGN", "billing", "c1")
    assert told["due_at"] == "2027-01-15T08:00:01.234Z"
    assert told["skips"] == [{"channel": "SMS", "reason": "opted_out", "messages": 2}]


def test_people_see_both_names_of_the_state(here: Run, engine: Engine) -> None:
    result = here("status", str(store(engine, skipped=20)))
    assert result.exit_code == 0
    assert "NOT_SENT (NÃO ENVIADA)" in result.stdout
    assert "opted_out" in result.stdout


def test_an_unknown_request_is_exit_code_1(here: Run) -> None:
    result = here("status", str(uuid4()))
    assert result.exit_code == 1
    assert "saec tail status" in result.stderr


def test_what_is_no_id_is_exit_code_2(saec: Run) -> None:
    assert saec("status", "42").exit_code == 2


def test_pending_is_by_hour_lane_and_channel(here: Run, engine: Engine) -> None:
    store(engine, pending=6)
    store(engine, pending=4)
    store(engine, pending=2, due_at_ms=DUE_MS + HOUR_MS, lane=0)
    result = here("pending", "--json")
    assert result.exit_code == 0, result.output
    told = [tuple(entry.values()) for entry in json.loads(result.stdout)]
    assert told == [
        ("2027-01-15T08:00:00.000Z", "CAMPAIGN", "EMAIL", 2, 5),
        ("2027-01-15T08:00:00.000Z", "CAMPAIGN", "SMS", 2, 5),
        ("2027-01-15T09:00:00.000Z", "TRANSACTIONAL", "EMAIL", 1, 1),
        ("2027-01-15T09:00:00.000Z", "TRANSACTIONAL", "SMS", 1, 1),
    ]


def test_pending_is_a_table_or_a_sentence(here: Run, engine: Engine) -> None:
    assert here("pending").stdout == "Nothing is pending.\n"
    store(engine, pending=6)
    assert "6 messages in all" in here("pending").stdout
