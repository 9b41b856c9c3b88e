"""Cancels: what each one was answered, and the slices it stopped.

Invariant: an answer is written in the transaction that stopped the slices, under the lock of the
request's shard, so what it says was stopped never leaves, and the first decision stays. A request
and a cancel that are stored at the same moment do not miss each other: whoever looks for the other
one holds a lock until its commit, a request a shared one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows
from saec.store.requests import by_column


@dataclass(frozen=True, slots=True)
class CancelRow:
    """One row of `cancels`, in column order. `status` is a `Status`; one row decides a request."""

    source_partition: int
    source_offset: int
    request_id: UUID
    status: str
    decides: bool
    recipients_stopped: int
    messages_stopped: int
    requester: str
    appended_at_ms: int
    late: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was taken out of `pending` for one request."""

    recipients: int = 0
    messages: int = 0


_COLUMNS = [field.name for field in fields(CancelRow)]

_ANSWERED = f"""
    SELECT {", ".join(_COLUMNS)} FROM cancels WHERE request_id = ANY(%(ids)s::uuid[])
"""

_CAME = f"""
    SELECT {", ".join(f"c.{name}" for name in _COLUMNS)}
    FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS came (part, place)
    JOIN cancels c ON c.source_partition = came.part AND c.source_offset = came.place
"""

# A statement of its own after the lock: in one statement READ COMMITTED would look at claims
# with the snapshot from before the lock, and stop a slice that is on its way.
_STOP = """
    WITH gone AS (
        DELETE FROM pending p
        WHERE p.request_id = ANY(%(ids)s::uuid[])
          AND NOT EXISTS (
              SELECT FROM claims c WHERE c.shard = p.shard AND p.seq = ANY(c.seqs))
        RETURNING p.request_id, p.recipients, p.messages)
    SELECT request_id, sum(recipients)::int, sum(messages)::int FROM gone GROUP BY request_id
"""

# The key of an advisory lock; nothing else of SAEC takes one with two numbers.
_LOOKING = "SELECT pg_advisory_xact_lock{shared}(1396786499, 1)"

# `arriving` is what `requests.insert_requests` staged in this transaction; what it stored of it
# has the same source. Between partitions append times tell what came first, and when they are the
# same the cancel holds. Positions below 0 are those of an earlier topic. Only what this transaction
# stored looks: of a request that was stored before, one cancel may have decided and another one
# still be unknown, and a second decision is refused each time.
_HOLD = f"""
    UPDATE cancels SET status = 'CANCELLED', decides = true, late = true,
        recipients_stopped = held.recipients, messages_stopped = held.messages
    FROM (
        SELECT c.source_partition, c.source_offset, r.recipients, r.messages
        FROM arriving a
        CROSS JOIN LATERAL (
            SELECT source_partition, source_offset, request_id FROM cancels
            WHERE request_id = a.request_id AND a.request_id = ANY(%(ids)s::uuid[])
              AND status = 'UNKNOWN_REQUEST'
              AND requester = a.requester
              AND source_partition <> a.source_partition AND source_partition >= 0
              AND appended_at_ms >= a.accepted_at_ms
            ORDER BY appended_at_ms, source_partition, source_offset LIMIT 1) c
        CROSS JOIN LATERAL (
            SELECT recipients, messages FROM requests
            WHERE request_id = c.request_id AND (source_partition, source_offset)
                = (a.source_partition, a.source_offset) OFFSET 0) r) held
    WHERE (cancels.source_partition, cancels.source_offset)
        = (held.source_partition, held.source_offset)
    RETURNING {", ".join(f"cancels.{name}" for name in _COLUMNS)}
"""

_HELD = """
    SELECT partition, place
    FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(ids)s::uuid[])
         read(partition, place, id)
    JOIN cancels c ON (c.source_partition, c.source_offset) = (partition, place)
    WHERE c.request_id <> read.id
"""

_LATE = f"""
    SELECT {", ".join(_COLUMNS)} FROM cancels WHERE request_id = ANY(%(ids)s::uuid[]) AND late
"""


def lock_unknown(connection: Connection) -> None:
    """Look for requests after this: one that is not there yet will see this transaction."""
    count(connection, _LOOKING.format(shared=""))


def hold_unknown(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, CancelRow]:
    """Let cancels read before them hold against `ids`, the requests that this transaction stored.

    Each such cancel stops all of its request. The caller deletes the slices.
    """
    count(connection, _LOOKING.format(shared="_shared"))
    return _by_request(rows(connection, _HOLD, ids=[str(request_id) for request_id in ids]))


def read_late(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, CancelRow]:
    """The cancels that held against these requests as they were stored."""
    return _by_request(rows(connection, _LATE, ids=[str(request_id) for request_id in ids]))


def _by_request(found: Iterable[Sequence[Any]]) -> dict[UUID, CancelRow]:
    return {row.request_id: row for row in map(_row, found)}


def _row(row: Sequence[Any]) -> CancelRow:
    return CancelRow(row[0], row[1], UUID(str(row[2])), *row[3:])


def read_answers(connection: Connection, ids: Iterable[UUID]) -> list[CancelRow]:
    """Every answer given for these requests."""
    found = rows(connection, _ANSWERED, ids=[str(request_id) for request_id in ids])
    return [_row(row) for row in found]


def read_sources(
    connection: Connection, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], CancelRow]:
    """The answers given to the cancels that stand at these partitions and offsets."""
    wanted = sorted(set(places))
    found = rows(
        connection,
        _CAME,
        partitions=[partition for partition, _ in wanted],
        offsets=[offset for _, offset in wanted],
    )
    return {(row.source_partition, row.source_offset): row for row in map(_row, found)}


def stop_slices(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Stopped]:
    """Delete the slices of these requests that no claim names; the caller holds the shard locks."""
    found = rows(connection, _STOP, ids=[str(request_id) for request_id in ids])
    return {UUID(str(row[0])): Stopped(row[1], row[2]) for row in found}


def held_by_others(
    connection: Connection, places: Collection[tuple[int, int, UUID]]
) -> list[tuple[int, int]]:
    """Of these partitions, offsets and requests: where a cancel of another request was read."""
    return [tuple(row) for row in rows(connection, _HELD, **by_column(places))]


def insert_answers(connection: Connection, answers: Sequence[CancelRow]) -> None:
    """Store new answers; a decision that exists already is a conflict."""
    copy_rows(
        connection,
        "cancels",
        _COLUMNS,
        ([getattr(row, name) for name in _COLUMNS] for row in answers),
    )
