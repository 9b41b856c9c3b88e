"""The JSON that scripts read: its fields, their order, and how each is written."""

import json
from uuid import UUID

import pytest

from saec.accounts import PORTUGUESE, as_dict, hour_as_dict
from saec.contracts.events import Channel, Lane
from saec.store.history import Account, PendingHour, Skipped, State

ACCOUNT = Account(
    request_id=UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"),
    channels=(Channel.EMAIL, Channel.SMS),
    lane=Lane.CAMPAIGN,
    skips=(Skipped(Channel.SMS, "opted_out", 3),),
    requester="billing",
    campaign_id=None,
    due_at_ms=1_800_000_001_234,
    expires_at_ms=None,
    accepted_at_ms=1_800_000_000_000,
    recipients=10,
    total=20,
    pending=4,
    cancelled=6,
)


def test_an_account() -> None:
    assert json.dumps(as_dict(ACCOUNT), ensure_ascii=False, separators=(",", ":")) == (
        '{"request_id":"6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10","state":"SCHEDULED",'
        '"state_pt":"AGENDADA","requester":"billing","campaign_id":null,'
        '"channels":["EMAIL","SMS"],"lane":"CAMPAIGN","due_at":"2027-01-15T08:00:01.234Z",'
        '"expires_at":null,"accepted_at":"2027-01-15T08:00:00.000Z","recipients":10,'
        '"counts":{"total":20,"pending":4,"skipped":3,"cancelled":6,"sent":7},'
        '"skips":[{"channel":"SMS","reason":"opted_out","messages":3}]}'
    )


def test_an_hour_of_what_is_pending() -> None:
    hour = PendingHour(1_800_000_000_000, Lane.TRANSACTIONAL, Channel.PUSH, 2, 5)
    assert json.dumps(hour_as_dict(hour), separators=(",", ":")) == (
        '{"hour":"2027-01-15T08:00:00.000Z","lane":"TRANSACTIONAL","channel":"PUSH",'
        '"requests":2,"messages":5}'
    )


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_portuguese_name(state: State) -> None:
    assert PORTUGUESE[state]
