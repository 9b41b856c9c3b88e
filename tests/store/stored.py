"""Requests put into the tables by hand, each in the state that a test wants.

Invariant: each has a message for every recipient and channel, and what became of all of them is in
the tables as ingest and dispatch leave it there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from saec.contracts.events import Channel, bits_to_channels
from saec.store.cancels import CancelRow, insert_answers
from saec.store.engine import Engine, count, transaction
from saec.store.history import State
from saec.store.pending import SkipRow, insert_skips
from saec.store.requests import RequestRow, SliceRow, insert_requests, insert_slices

RECIPIENTS = 3
_TABLES = "requests, pending, cancels, skips"


@dataclass(frozen=True)
class Stored:
    """A request to store, and where it shall stand."""

    state: State = State.SENT
    requester: str = "billing"
    campaign_id: str | None = None
    channels: int = Channel.EMAIL.bit
    lane: int = 0
    due_at_ms: int = 0
    accepted_at_ms: int = 0
    id: UUID = field(default_factory=uuid4)

    @property
    def messages(self) -> int:
        """One for each recipient and channel."""
        return RECIPIENTS * len(bits_to_channels(self.channels))


def store(engine: Engine, requests: Iterable[Stored]) -> None:
    """Store them in one transaction."""
    wanted = list(requests)
    with transaction(engine) as connection:
        insert_requests(connection, [_request(one) for one in wanted])
        insert_slices(connection, [_slice(one) for one in wanted if one.state is State.SCHEDULED])
        skipped = [one for one in wanted if one.state is State.NOT_SENT]
        insert_skips(connection, [skip for one in skipped for skip in _skips(one)])
        stopped = [one for one in wanted if one.state is State.CANCELLED]
        insert_answers(connection, [_cancel(one) for one in stopped])


def empty(engine: Engine) -> None:
    """Forget every request."""
    with transaction(engine) as connection:
        count(connection, f"TRUNCATE {_TABLES}")


def _request(one: Stored) -> RequestRow:
    return RequestRow(
        request_id=one.id,
        requester=one.requester,
        campaign_id=one.campaign_id,
        channels=one.channels,
        lane=one.lane,
        due_at_ms=one.due_at_ms,
        expires_at_ms=None,
        recipients=RECIPIENTS,
        messages=one.messages,
        slices=1,
        content_hash=bytes(16),
        source_partition=0,
        source_offset=0,
        accepted_at_ms=one.accepted_at_ms,
    )


def _slice(one: Stored) -> SliceRow:
    push_alone = one.channels == Channel.PUSH.bit
    return SliceRow(
        shard=0,
        lane=one.lane,
        due_at_ms=one.due_at_ms,
        request_id=one.id,
        slice_no=0,
        expires_at_ms=None,
        channels=one.channels if push_alone else one.channels & ~Channel.PUSH.bit,
        recipients=RECIPIENTS,
        messages=one.messages,
        requester=one.requester,
        campaign_id=one.campaign_id,
        traceparent=None,
        customers=() if push_alone else tuple(str(n) for n in range(RECIPIENTS)),
        schema_version=1,
        message=b"x",
    )


def _skips(one: Stored) -> list[SkipRow]:
    channels = bits_to_channels(one.channels)
    return [SkipRow(one.id, 0, channel.bit, "opted_out", RECIPIENTS) for channel in channels]


def _cancel(one: Stored) -> CancelRow:
    stopped = RECIPIENTS, one.messages
    return CancelRow(0, one.id.int >> 65, one.id, "CANCELLED", True, *stopped, "plans", 0)
