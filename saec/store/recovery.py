"""What `saec recover` reads and writes beyond what the processes do.

Invariant: what is written here is written while no process works; each function is safe to repeat.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from saec.store.engine import count, rows
from saec.store.shards import Owned


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A row of `shards`, and the highest batch number that its claims name (0: none)."""

    shard: int
    owner: str | None
    epoch: int
    batch_no: int
    ledger_offset: int
    halted: str | None
    claimed: int


@dataclass(frozen=True, slots=True)
class SliceSize:
    """How much a pending slice holds."""

    slice_no: int
    recipients: int
    messages: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pending slice stands, and how many recipients it has."""

    shard: int
    seq: int
    recipients: int


_SHARDS = """
    SELECT shard, owner, epoch, batch_no, ledger_offset, halted,
           (SELECT coalesce(max(batch_no), 0) FROM claims c WHERE c.shard = s.shard)
    FROM shards s ORDER BY shard
"""
_KNOWN = "SELECT request_id FROM requests WHERE request_id = ANY(%(ids)s::uuid[])"
_TAKE = """
    UPDATE shards SET owner = %(me)s, epoch = later.epoch
    FROM unnest(%(shards)s::smallint[], %(seen)s::bigint[], %(epochs)s::bigint[])
         later(shard, seen, epoch)
    WHERE shards.shard = later.shard AND shards.epoch = later.seen AND later.epoch > later.seen
    RETURNING shards.shard, shards.epoch, shards.batch_no, shards.ledger_offset
"""
_SIZES = """
    SELECT request_id, slice_no, recipients, messages FROM pending
    WHERE request_id = ANY(%(ids)s::uuid[]) ORDER BY request_id, slice_no
"""
_PLACES = """
    SELECT request_id, slice_no, shard, seq, recipients FROM pending
    WHERE request_id = ANY(%(ids)s::uuid[])
"""
_LAST_CLAIM = "SELECT coalesce(max(batch_no), 0) FROM claims WHERE shard = %(shard)s"
# A claim of the same number that names others was given up before that batch.
_HOLD = """
    INSERT INTO claims (shard, batch_no, seqs)
    VALUES (%(shard)s, %(batch_no)s, %(seqs)s::bigint[])
    ON CONFLICT (shard, batch_no) DO UPDATE SET seqs = excluded.seqs
"""
_CLEAR = """
    UPDATE shards SET halted = NULL
    WHERE shard = ANY(%(shards)s) AND halted LIKE '%%went back in time%%'
    RETURNING shard
"""


def read_shard_rows(connection: Connection) -> list[ShardRow]:
    """Every shard, in order."""
    return [ShardRow(*row) for row in rows(connection, _SHARDS)]


def known_requests(connection: Connection, ids: Iterable[UUID]) -> set[UUID]:
    """Those of these requests that are stored."""
    found = rows(connection, _KNOWN, ids=[str(request_id) for request_id in ids])
    return {UUID(str(row[0])) for row in found}


def take_ahead(
    connection: Connection, me: str, later: Mapping[int, tuple[int, int]]
) -> dict[int, Owned]:
    """Become the owner at a later epoch: shard -> (epoch seen, epoch to have)."""
    taken = rows(
        connection,
        _TAKE,
        me=me,
        shards=list(later),
        seen=[seen for seen, _ in later.values()],
        epochs=[epoch for _, epoch in later.values()],
    )
    return {row[0]: Owned(*row[1:]) for row in taken}


def slice_sizes(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, list[SliceSize]]:
    """The pending slices of these requests, in order."""
    found: dict[UUID, list[SliceSize]] = {}
    for request_id, *size in rows(connection, _SIZES, ids=[str(one) for one in ids]):
        found.setdefault(UUID(str(request_id)), []).append(SliceSize(*size))
    return found


def pending_places(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, dict[int, Place]]:
    """Where the pending slices of these requests stand: request -> slice -> place."""
    found: dict[UUID, dict[int, Place]] = {}
    for request_id, slice_no, *place in rows(connection, _PLACES, ids=[str(one) for one in ids]):
        found.setdefault(UUID(str(request_id)), {})[slice_no] = Place(*place)
    return found


def last_claim(connection: Connection, shard: int) -> int:
    """The highest batch number that a claim of this shard names; 0 without one."""
    return int(rows(connection, _LAST_CLAIM, shard=shard)[0][0])


def hold(connection: Connection, shard: int, batch_no: int, seqs: Sequence[int]) -> None:
    """Let a claim name exactly these slices."""
    count(connection, _HOLD, shard=shard, batch_no=batch_no, seqs=list(seqs))


def clear_went_back(connection: Connection, shards: Sequence[int]) -> list[int]:
    """Clear the halts that say that time went back; returns the shards that had one."""
    return sorted(row[0] for row in rows(connection, _CLEAR, shards=list(shards)))
