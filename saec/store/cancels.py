"""Cancels: what each one was answered, and the slices it stopped.

Invariant: an answer is written in the transaction that stopped the slices, under the lock of the
request's shard, so what it says was stopped never leaves, and the first decision stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import rows


@dataclass(frozen=True, slots=True)
class CancelRow:
    """One row of `cancels`, in column order. `status` is a `Status`; one row decides a request."""

    source_partition: int
    source_offset: int
    request_id: UUID
    status: str
    decides: bool
    recipients_stopped: int = 0
    messages_stopped: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was taken out of `pending` for one request."""

    recipients: int = 0
    messages: int = 0


_COLUMNS = [field.name for field in fields(CancelRow)]

_ANSWERED = f"""
    SELECT {", ".join(_COLUMNS)} FROM cancels WHERE request_id = ANY(%(ids)s::uuid[])
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


def read_answers(connection: Connection, ids: Iterable[UUID]) -> list[CancelRow]:
    """Every answer given for these requests."""
    found = rows(connection, _ANSWERED, ids=[str(request_id) for request_id in ids])
    return [CancelRow(row[0], row[1], UUID(str(row[2])), *row[3:]) for row in found]


def stop_slices(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Stopped]:
    """Delete the slices of these requests that no claim names; the caller holds the shard locks."""
    found = rows(connection, _STOP, ids=[str(request_id) for request_id in ids])
    return {UUID(str(row[0])): Stopped(row[1], row[2]) for row in found}


def insert_answers(connection: Connection, answers: Sequence[CancelRow]) -> None:
    """Store new answers; a decision that exists already is a conflict."""
    copy_rows(
        connection,
        "cancels",
        _COLUMNS,
        ([getattr(row, name) for name in _COLUMNS] for row in answers),
    )
