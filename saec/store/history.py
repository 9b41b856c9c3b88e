"""What the tables tell about requests: behind `saec status`, `saec pending`, `saec history`, HTTP.

Invariant: an account of a request adds up, because it is read in one snapshot: total = pending +
skipped + cancelled + sent. What is on its way at that moment still counts as pending.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from saec.contracts.events import Channel, Lane, bits_to_channels
from saec.store.cancels import CancelRow, read_answers
from saec.store.engine import count, rows
from saec.store.shards import shard_of


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
class Waiting:
    """A slice that is pending; `claimed`: a batch that is on its way names it."""

    slice_no: int
    channels: tuple[Channel, ...]
    recipients: int
    messages: int
    claimed: bool


@dataclass(frozen=True, slots=True)
class SliceSkipped:
    """Messages of a slice that could not go out by a channel, and why (a reason code)."""

    slice_no: int
    channel: Channel
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Trail:
    """A request, and what leads to its traces in Kafka.

    `source` is partition and offset of its record. Batches before `ledger_offset` of its shard are
    applied: their slices are not in `waiting`.
    """

    account: Account
    source: tuple[int, int]
    shard: int
    ledger_offset: int
    waiting: tuple[Waiting, ...]
    skips: tuple[SliceSkipped, ...]
    cancels: tuple[CancelRow, ...]


@dataclass(frozen=True, slots=True)
class PendingHour:
    """What is due in the hour from `hour_ms` on, by lane and channel."""

    hour_ms: int
    lane: Lane
    channel: Channel
    requests: int
    messages: int


_LANES = tuple(sorted(Lane, key=lambda lane: lane.rank))
_REQUESTS = """
    SELECT request_id, channels, lane, requester, campaign_id, due_at_ms, expires_at_ms,
           accepted_at_ms, recipients, messages,
           (SELECT coalesce(sum(messages), 0) FROM pending WHERE request_id = r.request_id)::int,
           (SELECT coalesce(sum(messages_stopped), 0) FROM cancels
            WHERE request_id = r.request_id)::int
    FROM requests r WHERE request_id = ANY(%(ids)s::uuid[])
"""
_SKIPS = """
    SELECT request_id, channel, reason, sum(messages)::int FROM skips
    WHERE request_id = ANY(%(ids)s::uuid[])
    GROUP BY request_id, channel, reason ORDER BY request_id, channel, reason
"""
_TRACES = """
    SELECT source_partition, source_offset,
           (SELECT ledger_offset FROM shards WHERE shard = %(shard)s)
    FROM requests WHERE request_id = %(id)s::uuid
"""
_WAITING = """
    SELECT slice_no, channels, recipients, messages,
           EXISTS (SELECT FROM claims c WHERE c.shard = p.shard AND p.seq = ANY(c.seqs))
    FROM pending p WHERE request_id = %(id)s::uuid ORDER BY slice_no
"""
_SLICE_SKIPS = """
    SELECT slice_no, channel, reason, messages FROM skips WHERE request_id = %(id)s::uuid
    ORDER BY slice_no, channel, reason
"""
# Every slice's recipients are reached once by each of its channels.
_PENDING = """
    SELECT due_at_ms / 3600000 * 3600000 AS hour_ms, lane, bit,
           count(DISTINCT request_id)::int, sum(recipients)::bigint
    FROM pending JOIN unnest(ARRAY[1, 2, 4, 8]) bit ON channels & bit <> 0
    WHERE %(requester)s IS NULL OR requester = %(requester)s
    GROUP BY hour_ms, lane, bit ORDER BY hour_ms, lane, bit
"""
_READ_WHOLE = "SET LOCAL enable_seqscan = on"  # `engine` turns it off for all that look rows up
_REGISTERED = "SELECT count(*) FROM customers WHERE NOT erased"


def read_account(connection: Connection, request_id: UUID) -> Account | None:
    """The account of one request, None if it is not stored. The caller opens a snapshot."""
    return next(iter(read_accounts(connection, [request_id])), None)


def read_accounts(connection: Connection, ids: Sequence[UUID]) -> list[Account]:
    """The accounts of those that are stored, in the order of `ids`. The caller opens a snapshot."""
    asked = [str(request_id) for request_id in ids]
    skips: dict[UUID, list[Skipped]] = {}
    for id_, bit, *rest in rows(connection, _SKIPS, ids=asked):
        skips.setdefault(UUID(str(id_)), []).append(Skipped(_channel(bit), *rest))
    stored = {UUID(str(id_)): rest for id_, *rest in rows(connection, _REQUESTS, ids=asked)}
    return [_account(id_, stored[id_], skips.get(id_, ())) for id_ in ids if id_ in stored]


def read_trail(connection: Connection, request_id: UUID, shards: int) -> Trail | None:
    """One request with its traces, None if it is not stored. The caller opens a snapshot."""
    account = read_account(connection, request_id)
    if account is None:
        return None
    asked = {"id": str(request_id)}
    shard = shard_of(request_id, shards)
    partition, offset, ledger_offset = rows(connection, _TRACES, shard=shard, **asked)[0]
    waiting = tuple(
        Waiting(slice_no, bits_to_channels(channels), *rest)
        for slice_no, channels, *rest in rows(connection, _WAITING, **asked)
    )
    skips = tuple(
        SliceSkipped(slice_no, _channel(bit), *rest)
        for slice_no, bit, *rest in rows(connection, _SLICE_SKIPS, **asked)
    )
    given = read_answers(connection, [request_id])
    cancels = tuple(sorted(given, key=lambda row: (row.source_partition, row.source_offset)))
    return Trail(account, (partition, offset), shard, ledger_offset, waiting, skips, cancels)


def read_pending(connection: Connection, requester: str | None = None) -> list[PendingHour]:
    """Everything that is pending, or what one requester asked for, by hour (UTC), lane and channel.

    Reads all that is pending either way.
    """
    count(connection, _READ_WHOLE)
    return [
        PendingHour(hour_ms, _LANES[lane], _channel(bit), requests, messages)
        for hour_ms, lane, bit, requests, messages in rows(
            connection, _PENDING, requester=requester
        )
    ]


def count_customers(connection: Connection) -> int:
    """How many customers are registered."""
    return int(rows(connection, _REGISTERED)[0][0])


def _account(request_id: UUID, row: Sequence[Any], skips: Iterable[Skipped]) -> Account:
    channels, lane, *rest = row
    return Account(request_id, bits_to_channels(channels), _LANES[lane], tuple(skips), *rest)


def _channel(bit: int) -> Channel:
    return bits_to_channels(bit)[0]
