"""What the tables tell about requests: the queries behind `saec status` and `saec pending`.

Invariant: an account of a request adds up, because it is read in one snapshot: total = pending +
skipped + cancelled + sent. What is on its way at that moment still counts as pending.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection

from saec.contracts.events import Channel, Lane, bits_to_channels
from saec.store.engine import count, rows


class State(StrEnum):
    """Where a request stands."""

    SCHEDULED = "SCHEDULED"
    SENT = "SENT"
    CANCELLED = "CANCELLED"
    NOT_SENT = "NOT_SENT"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages that could not go out by a channel, and why (a reason code)."""

    channel: Channel
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Account:
    """A request and what became of its messages."""

    request_id: UUID
    channels: tuple[Channel, ...]
    lane: Lane
    skips: tuple[Skipped, ...]
    requester: str
    campaign_id: str | None
    due_at_ms: int
    expires_at_ms: int | None
    accepted_at_ms: int
    recipients: int
    total: int
    pending: int
    cancelled: int

    @property
    def skipped(self) -> int:
        """Messages that could not go out."""
        return sum(skip.messages for skip in self.skips)

    @property
    def sent(self) -> int:
        """Messages that are in the channel topics."""
        return self.total - self.pending - self.skipped - self.cancelled

    @property
    def state(self) -> State:
        """The state that the counts amount to."""
        if self.pending:
            return State.SCHEDULED
        if self.sent:
            return State.SENT
        return State.CANCELLED if self.cancelled else State.NOT_SENT


@dataclass(frozen=True, slots=True)
class PendingHour:
    """What is due in the hour from `hour_ms` on, by lane and channel."""

    hour_ms: int
    lane: Lane
    channel: Channel
    requests: int
    messages: int


_LANES = tuple(sorted(Lane, key=lambda lane: lane.rank))
_REQUEST = """
    SELECT channels, lane, requester, campaign_id, due_at_ms, expires_at_ms, accepted_at_ms,
           recipients, messages,
           (SELECT coalesce(sum(messages), 0) FROM pending WHERE request_id = r.request_id)::int,
           (SELECT coalesce(sum(messages_stopped), 0) FROM cancels
            WHERE request_id = r.request_id)::int
    FROM requests r WHERE request_id = %(id)s::uuid
"""
_SKIPS = """
    SELECT channel, reason, sum(messages)::int FROM skips WHERE request_id = %(id)s::uuid
    GROUP BY channel, reason ORDER BY channel, reason
"""
# Every slice's recipients are reached once by each of its channels.
_PENDING = """
    SELECT due_at_ms / 3600000 * 3600000 AS hour_ms, lane, bit,
           count(DISTINCT request_id)::int, sum(recipients)::bigint
    FROM pending JOIN unnest(ARRAY[1, 2, 4, 8]) bit ON channels & bit <> 0
    GROUP BY hour_ms, lane, bit ORDER BY hour_ms, lane, bit
"""
_READ_WHOLE = "SET LOCAL enable_seqscan = on"  # `engine` turns it off for all that look rows up
_REGISTERED = "SELECT count(*) FROM customers WHERE NOT erased"


def read_account(connection: Connection, request_id: UUID) -> Account | None:
    """The account of one request, None if it is not stored. The caller opens a snapshot."""
    found = rows(connection, _REQUEST, id=str(request_id))
    if not found:
        return None
    channels, lane, *rest = found[0]
    skips = tuple(
        Skipped(_channel(bit), reason, messages)
        for bit, reason, messages in rows(connection, _SKIPS, id=str(request_id))
    )
    return Account(request_id, bits_to_channels(channels), _LANES[lane], skips, *rest)


def read_pending(connection: Connection) -> list[PendingHour]:
    """Everything that is pending, by hour (UTC), lane and channel."""
    count(connection, _READ_WHOLE)
    return [
        PendingHour(hour_ms, _LANES[lane], _channel(bit), requests, messages)
        for hour_ms, lane, bit, requests, messages in rows(connection, _PENDING)
    ]


def count_customers(connection: Connection) -> int:
    """How many customers are registered."""
    return int(rows(connection, _REGISTERED)[0][0])


def _channel(bit: int) -> Channel:
    return bits_to_channels(bit)[0]
