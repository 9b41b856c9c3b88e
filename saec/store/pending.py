"""What is due: choosing slices, claiming them, reading them, deleting what was dispatched.

Invariant: a slice that a claim row names is not chosen again and not cancelled until the claim is
applied or given up. The caller holds the locks of the shards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class Run:
    """Slices of one shard and lane that lie next to one another in read order.

    `seqs` names them; the rest tells where they lie, so that one short stretch of the primary key
    is read instead of one index entry a slice. `size` is the bytes that their messages come to.
    """

    shard: int
    lane: int
    first_due_ms: int
    last_due_ms: int
    seqs: list[int]
    messages: int
    size: int


@dataclass(frozen=True, slots=True)
class Room:
    """How many messages and bytes a batch may still take; the first `at_least` slices always."""

    messages: int
    size: int
    at_least: int


@dataclass(frozen=True, slots=True)
class Apart:
    """Slices named by what they have in common; both kinds together.

    `kinds` are (channels, bytes): slices that go out on all of these channels (bits), with a
    message of so many bytes or more. `requests` are named whole.
    """

    kinds: tuple[tuple[int, int], ...] = ()
    requests: tuple[UUID, ...] = ()

    @property
    def condition(self) -> str:
        """As SQL; all in it is ours: ints and UUIDs."""
        parts = [
            f"(channels & {int(bits)} = {int(bits)} AND octet_length(message) >= {int(size)})"
            for bits, size in self.kinds
        ]
        if self.requests:
            parts.append(f"request_id IN ({', '.join(repr(str(one)) for one in self.requests)})")
        return " OR ".join(parts) or "false"


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be chosen of what is due: up to `slices`, none of `apart`, and `only` these.

    Of campaigns up to `beside_messages` while transactional messages wait; 0 is no such bound.
    """

    slices: int | None = None
    apart: Apart | None = None
    only: Apart | None = None
    beside_messages: int = 0

    @property
    def conditions(self) -> str:
        """As SQL; nothing for an ordinary choice."""
        without = f" AND NOT ({self.apart.condition})" if self.apart else ""
        return without + (f" AND ({self.only.condition})" if self.only else "")


EVERYTHING = Choice()


class PendingSlice(NamedTuple):
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
    (SELECT shard, due_at_ms, seq, messages, octet_length(message) * messages AS size
     FROM pending
     WHERE shard = {shard} AND lane = {lane} AND due_at_ms <= %(now_ms)s
       AND seq NOT IN (SELECT unnest(seqs) FROM claims WHERE claims.shard = {shard}){conditions}
     ORDER BY due_at_ms, seq LIMIT %(messages)s)
"""
# Whatever a batch may not carry comes behind what it may, so both sums only grow.
_CHOOSE = """
    SELECT shard, min(due_at_ms), max(due_at_ms), array_agg(seq), sum(messages)::bigint,
           sum(size)::bigint
    FROM (SELECT *, row_number() OVER so_far AS place, sum(messages) OVER so_far AS messages_so_far,
                 sum(size) OVER so_far AS size_so_far
          FROM (SELECT * FROM ({branches}) due ORDER BY due_at_ms, seq LIMIT %(messages)s) due
          WINDOW so_far AS (ORDER BY due_at_ms, seq ROWS UNBOUNDED PRECEDING)) counted
    WHERE (place <= %(at_least)s
           OR (messages_so_far <= %(messages)s AND size_so_far <= %(size)s))
      AND place <= %(slices)s
    GROUP BY shard
"""
_NEXT_DUE = """
    SELECT l.lane, min(first.due_at_ms)
    FROM unnest(%(shards)s::smallint[]) s(shard) CROSS JOIN (VALUES (0), (1)) l(lane)
    CROSS JOIN LATERAL (
        SELECT due_at_ms FROM pending p WHERE p.shard = s.shard AND p.lane = l.lane{conditions}
        ORDER BY due_at_ms, seq LIMIT 1) first
    GROUP BY l.lane
"""
_CLAIMED = "SELECT shard, batch_no, seqs FROM claims WHERE shard = ANY(%(shards)s)"
_UNCLAIM = """
    DELETE FROM claims USING unnest(%(shards)s::smallint[], %(batches)s::bigint[]) b(shard, batch)
    WHERE claims.shard = b.shard AND claims.batch_no = b.batch
"""
_UNCLAIM_ALL = "DELETE FROM claims WHERE shard = ANY(%(shards)s)"
_OF_RUNS = """
    p.shard = run.shard AND p.lane = run.lane
    AND (p.due_at_ms, p.seq) >= (run.first_due_ms, run.first_seq)
    AND (p.due_at_ms, p.seq) <= (run.last_due_ms, run.last_seq)
    AND p.seq = ANY(run.seqs::bigint[])
"""
_RUNS = """
    unnest(%(shards)s::smallint[], %(lanes)s::smallint[],
           %(first_due)s::bigint[], %(last_due)s::bigint[],
           %(first_seq)s::bigint[], %(last_seq)s::bigint[], %(seqs)s::text[])
    run(shard, lane, first_due_ms, last_due_ms, first_seq, last_seq, seqs)
"""
_READ = f"""
    SELECT p.shard, p.seq, p.request_id::text, p.slice_no, p.due_at_ms, p.expires_at_ms,
           p.channels, p.requester, p.campaign_id, p.traceparent, p.customers, p.message
    FROM {_RUNS} JOIN pending p ON {_OF_RUNS}
    ORDER BY p.lane, p.due_at_ms, p.seq
"""
_DELETE_RUNS = f"""
    WITH gone AS (DELETE FROM pending p USING {_RUNS} WHERE {_OF_RUNS} RETURNING p.shard)
    SELECT shard, count(*) FROM gone GROUP BY shard
"""
_DELETE = """
    WITH gone AS (
        DELETE FROM pending
        USING unnest(%(ids)s::uuid[], %(slice_nos)s::int[]) b(request_id, slice_no)
        WHERE pending.request_id = ANY(%(ids)s::uuid[])  -- else the whole table is read
          AND pending.request_id = b.request_id AND pending.slice_no = b.slice_no
        RETURNING pending.shard)
    SELECT shard, count(*) FROM gone GROUP BY shard
"""
_SKIP = """
    INSERT INTO skips (request_id, slice_no, channel, reason, messages)
    SELECT * FROM unnest(%(ids)s::uuid[], %(slice_nos)s::int[], %(channels)s::smallint[],
                         %(reasons)s::text[], %(messages)s::int[])
"""


def next_due_ms(
    connection: Connection, shards: Iterable[int], choice: Choice = EVERYTHING
) -> Mapping[int, int]:
    """When the next slice of these shards is due, claimed or not, in each lane that has any."""
    asked = _NEXT_DUE.format(conditions=choice.conditions)
    return dict(tuple(row) for row in rows(connection, asked, shards=list(shards)))


def read_claims(connection: Connection, shards: Iterable[int]) -> dict[int, dict[int, list[int]]]:
    """The claim rows of these shards: shard -> batch -> seqs."""
    found: dict[int, dict[int, list[int]]] = {shard: {} for shard in shards}
    for shard, batch_no, seqs in rows(connection, _CLAIMED, shards=list(found)):
        found[shard][batch_no] = seqs
    return found


def choose(
    connection: Connection,
    shards: Iterable[int],
    lane: int,
    *,
    now_ms: int,
    room: Room,
    choice: Choice = EVERYTHING,
) -> list[Run]:
    """The oldest due slices of one lane that no claim names, as many as there is room for.

    A run a shard.
    """
    conditions = choice.conditions
    branches = " UNION ALL ".join(
        _BRANCH.format(shard=int(s), lane=int(lane), conditions=conditions) for s in shards
    )
    found = rows(
        connection,
        _CHOOSE.format(branches=branches),
        now_ms=now_ms,
        messages=room.messages,
        size=room.size,
        at_least=room.at_least,
        slices=room.messages if choice.slices is None else choice.slices,
    )
    return [Run(shard, lane, *run) for shard, *run in found]


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


def read_slices(connection: Connection, runs: Sequence[Run]) -> list[PendingSlice]:
    """The slices of these runs that are still there: by lane, then the oldest due first."""
    return [
        PendingSlice(row[0], row[1], UUID(row[2]), *row[3:10], tuple(row[10]), bytes(row[11]))  # type: ignore[call-arg]
        for row in rows(connection, _READ, **_stretches(runs))
    ]


def delete_runs(connection: Connection, runs: Sequence[Run]) -> Mapping[int, int]:
    """Delete the slices of these runs; returns how many of each shard."""
    return dict(tuple(row) for row in rows(connection, _DELETE_RUNS, **_stretches(runs)))


def delete_slices(connection: Connection, slices: Iterable[tuple[UUID, int]]) -> Mapping[int, int]:
    """Delete exactly these (request id, slice number); returns how many of each shard.

    For what only the ledger names: by runs it takes a fifth of the time.
    """
    ids, slice_nos = [], []
    for request_id, slice_no in slices:
        ids.append(str(request_id))
        slice_nos.append(slice_no)
    return dict(tuple(row) for row in rows(connection, _DELETE, ids=ids, slice_nos=slice_nos))


def _stretches(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "shards": [run.shard for run in runs],
        "lanes": [run.lane for run in runs],
        "first_due": [run.first_due_ms for run in runs],
        "last_due": [run.last_due_ms for run in runs],
        "first_seq": [min(run.seqs) for run in runs],
        "last_seq": [max(run.seqs) for run in runs],
        # As texts: thousands of numbers in a statement take PostgreSQL longer than the rows.
        "seqs": ["{" + ",".join(map(str, run.seqs)) + "}" for run in runs],
    }


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
