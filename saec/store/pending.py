"""What is due: choosing slices, claiming them, reading them, deleting what was dispatched.

Invariant: a slice that a claim row names is not chosen again and not cancelled until the claim is
applied or given up. The caller holds the locks of the shards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class Chosen:
    """A slice that is due: the least that a claim needs to know."""

    shard: int
    seq: int
    request_id: UUID
    slice_no: int
    messages: int
    message_bytes: int


@dataclass(frozen=True, slots=True)
class PendingSlice:
    """A claimed slice with everything that its messages are made of."""

    shard: int
    seq: int
    request_id: UUID
    slice_no: int
    due_at_ms: int
    expires_at_ms: int | None
    channels: int
    requester: str
    campaign_id: str | None
    traceparent: str | None
    customers: tuple[str, ...]
    message: bytes


@dataclass(frozen=True, slots=True)
class SkipRow:
    """How many messages of a slice could not go out by a channel (bit), and why."""

    request_id: UUID
    slice_no: int
    channel: int
    reason: str
    messages: int


# One branch a shard, each in index order and limited by itself, so that PostgreSQL merges the
# branches row by row and stops at the limit. {shard} and {lane} are ints of ours.
_BRANCH = """
    (SELECT shard, lane, due_at_ms, seq, request_id, slice_no, messages,
            octet_length(message) AS message_bytes
     FROM pending
     WHERE shard = {shard} AND lane = {lane} AND due_at_ms <= %(now_ms)s
       AND seq <> ALL(%(claimed)s::bigint[])
     ORDER BY due_at_ms, seq LIMIT %(limit)s)
"""
_CHOOSE = """
    SELECT shard, seq, request_id::text, slice_no, messages, message_bytes
    FROM ({branches}) due ORDER BY due_at_ms, seq LIMIT %(limit)s
"""
_NEXT_DUE = """
    SELECT min(first.due_at_ms)
    FROM unnest(%(shards)s::smallint[]) s(shard) CROSS JOIN (VALUES (0), (1)) l(lane)
    CROSS JOIN LATERAL (
        SELECT due_at_ms FROM pending p WHERE p.shard = s.shard AND p.lane = l.lane
        ORDER BY due_at_ms, seq LIMIT 1) first
"""
_CLAIMED = "SELECT shard, batch_no, seqs FROM claims WHERE shard = ANY(%(shards)s)"
_UNCLAIM = """
    DELETE FROM claims USING unnest(%(shards)s::smallint[], %(batches)s::bigint[]) b(shard, batch)
    WHERE claims.shard = b.shard AND claims.batch_no = b.batch
"""
_UNCLAIM_ALL = "DELETE FROM claims WHERE shard = ANY(%(shards)s)"
_READ = """
    SELECT shard, seq, request_id::text, slice_no, due_at_ms, expires_at_ms, channels, requester,
           campaign_id, traceparent, customers, message
    FROM pending
    WHERE request_id = ANY(%(ids)s::uuid[]) AND seq = ANY(%(seqs)s::bigint[])
"""
_DELETE = """
    WITH gone AS (
        DELETE FROM pending
        USING unnest(%(ids)s::uuid[], %(slice_nos)s::int[]) b(request_id, slice_no)
        WHERE pending.request_id = b.request_id AND pending.slice_no = b.slice_no
        RETURNING pending.shard)
    SELECT shard, count(*) FROM gone GROUP BY shard
"""
_SKIP = """
    INSERT INTO skips (request_id, slice_no, channel, reason, messages)
    SELECT * FROM unnest(%(ids)s::uuid[], %(slice_nos)s::int[], %(channels)s::smallint[],
                         %(reasons)s::text[], %(messages)s::int[])
"""


def next_due_ms(connection: Connection, shards: Iterable[int]) -> int | None:
    """When the next slice of these shards is due, claimed or not; None when nothing is pending."""
    due: int | None = rows(connection, _NEXT_DUE, shards=list(shards))[0][0]
    return due


def read_claims(connection: Connection, shards: Iterable[int]) -> dict[int, dict[int, list[int]]]:
    """The claim rows of these shards: shard -> batch -> seqs."""
    found: dict[int, dict[int, list[int]]] = {shard: {} for shard in shards}
    for shard, batch_no, seqs in rows(connection, _CLAIMED, shards=list(found)):
        found[shard][batch_no] = seqs
    return found


def choose(
    connection: Connection,
    shards: Sequence[int],
    lane: int,
    *,
    now_ms: int,
    claimed: Iterable[int],
    limit: int,
) -> list[Chosen]:
    """At most `limit` due slices of one lane that no claim names, oldest due first."""
    branches = " UNION ALL ".join(_BRANCH.format(shard=int(s), lane=int(lane)) for s in shards)
    found = rows(
        connection,
        _CHOOSE.format(branches=branches),
        now_ms=now_ms,
        claimed=list(claimed),
        limit=limit,
    )
    return [Chosen(row[0], row[1], UUID(row[2]), *row[3:]) for row in found]


def insert_claims(connection: Connection, claims: Iterable[tuple[int, int, Sequence[int]]]) -> None:
    """Name the slices of batches, each (shard, batch, seqs); a number taken is a conflict."""
    copy_rows(connection, "claims", ["shard", "batch_no", "seqs"], claims)


def delete_claims(connection: Connection, batches: Sequence[tuple[int, int]]) -> int:
    """Delete the claim rows of these (shard, batch); returns how many there were."""
    return count(
        connection, _UNCLAIM, shards=[b[0] for b in batches], batches=[b[1] for b in batches]
    )


def delete_all_claims(connection: Connection, shards: Iterable[int]) -> None:
    """Give up whatever is claimed in these shards."""
    count(connection, _UNCLAIM_ALL, shards=list(shards))


def read_slices(connection: Connection, chosen: Sequence[Chosen]) -> list[PendingSlice]:
    """The chosen slices that are still there, in the order chosen."""
    found = rows(
        connection,
        _READ,
        ids=[str(slice_.request_id) for slice_ in chosen],
        seqs=[slice_.seq for slice_ in chosen],
    )
    by_seq = {row[1]: row for row in found}
    present = [by_seq[slice_.seq] for slice_ in chosen if slice_.seq in by_seq]
    return [
        PendingSlice(row[0], row[1], UUID(row[2]), *row[3:10], tuple(row[10]), bytes(row[11]))  # type: ignore[call-arg]
        for row in present
    ]


def delete_slices(connection: Connection, slices: Iterable[tuple[UUID, int]]) -> Mapping[int, int]:
    """Delete exactly these (request id, slice number); returns how many of each shard."""
    ids, slice_nos = [], []
    for request_id, slice_no in slices:
        ids.append(str(request_id))
        slice_nos.append(slice_no)
    return dict(tuple(row) for row in rows(connection, _DELETE, ids=ids, slice_nos=slice_nos))


def insert_skips(connection: Connection, skips: Sequence[SkipRow]) -> None:
    """Count what could not go out."""
    if not skips:
        return
    count(
        connection,
        _SKIP,
        ids=[str(skip.request_id) for skip in skips],
        slice_nos=[skip.slice_no for skip in skips],
        channels=[skip.channel for skip in skips],
        reasons=[skip.reason for skip in skips],
        messages=[skip.messages for skip in skips],
    )
