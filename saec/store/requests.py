"""Requests as they were accepted, with what is pending of them.

Invariant: the first content stored under an id stays; a row is never updated.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows


class RequestRow(NamedTuple):
    """One row of `requests`, in column order."""

    request_id: UUID
    requester: str
    campaign_id: str | None
    channels: int
    lane: int
    due_at_ms: int
    expires_at_ms: int | None
    recipients: int
    messages: int
    slices: int
    content_hash: bytes
    source_partition: int
    source_offset: int
    accepted_at_ms: int


class SliceRow(NamedTuple):
    """One row of `pending` to insert; its seq is given by the database, in insert order."""

    shard: int
    lane: int
    due_at_ms: int
    request_id: UUID
    slice_no: int
    expires_at_ms: int | None
    channels: int
    recipients: int
    messages: int
    requester: str
    campaign_id: str | None
    traceparent: str | None
    customers: tuple[str, ...]
    schema_version: int
    message: bytes


_REQUEST_TYPES = {
    "request_id": "uuid",
    "requester": "text",
    "campaign_id": "text",
    "channels": "smallint",
    "lane": "smallint",
    "due_at_ms": "bigint",
    "expires_at_ms": "bigint",
    "recipients": "integer",
    "messages": "integer",
    "slices": "integer",
    "content_hash": "bytea",
    "source_partition": "integer",
    "source_offset": "bigint",
    "accepted_at_ms": "bigint",
}
_REQUEST_COLUMNS = RequestRow._fields
_SLICE_COLUMNS = SliceRow._fields

# Gone with the transaction: a pooler would keep it, in the shape of this release.
_STAGE = f"""
    CREATE TEMPORARY TABLE IF NOT EXISTS arriving
    ({", ".join(f"{name} {type_}" for name, type_ in _REQUEST_TYPES.items())}, ordinal integer)
    ON COMMIT DROP
"""

# Sorted by id, so that two processes with the same ids cannot deadlock; of two rows with one id
# the first to arrive wins. Nearly always all are new: so those are returned that are not.
_INSERT = f"""
    WITH new AS (
        INSERT INTO requests ({", ".join(_REQUEST_COLUMNS)})
        SELECT {", ".join(_REQUEST_COLUMNS)} FROM arriving ORDER BY request_id, ordinal
        ON CONFLICT (request_id) DO NOTHING
        RETURNING request_id)
    SELECT request_id FROM arriving EXCEPT SELECT request_id FROM new
"""

_STORED = """
    SELECT request_id, requester, messages, recipients, content_hash,
           source_partition, source_offset
    FROM requests WHERE request_id = ANY(%(ids)s::uuid[])
"""

# Between two append times, since those are in the order of the table.
_CAME = """
    SELECT request_id, requester, messages, recipients, content_hash,
           source_partition, source_offset
    FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(times_ms)s::bigint[])
         AS came (part, place, at_ms)
    JOIN requests ON source_partition = part AND source_offset = place AND accepted_at_ms = at_ms
    WHERE accepted_at_ms BETWEEN %(first_ms)s AND %(last_ms)s
"""


_HELD = """
    SELECT partition, place
    FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(ids)s::uuid[])
         read(partition, place, id)
    JOIN requests r ON (r.source_partition, r.source_offset) = (partition, place)
    WHERE r.request_id <> read.id
"""


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What an answer depends on, of a request that is stored."""

    request_id: UUID
    requester: str
    messages: int
    recipients: int
    content_hash: bytes
    source_partition: int
    source_offset: int


def insert_requests(connection: Connection, arriving: Sequence[RequestRow]) -> set[UUID]:
    """Store the requests whose id is new; returns the ids that are not."""
    count(connection, _STAGE)
    staged = ((*row, ordinal) for ordinal, row in enumerate(arriving))
    copy_rows(connection, "arriving", [*_REQUEST_COLUMNS, "ordinal"], staged)
    return {UUID(str(row[0])) for row in rows(connection, _INSERT)}


def insert_slices(connection: Connection, slices: Iterable[SliceRow]) -> None:
    """Append slices to `pending`, in this order."""
    copy_rows(connection, "pending", _SLICE_COLUMNS, slices)


def held_by_others(
    connection: Connection, places: Collection[tuple[int, int, UUID]]
) -> list[tuple[int, int]]:
    """Of these partitions, offsets and requests: where another request was read.

    Reads all of `requests`: for when something is wrong.
    """
    return [tuple(row) for row in rows(connection, _HELD, **by_column(places))]


def by_column(places: Collection[tuple[int, int, UUID]]) -> dict[str, list[Any]]:
    """Partitions, offsets and requests as a statement's parameters."""
    return {
        "partitions": [partition for partition, _, _ in places],
        "offsets": [offset for _, offset, _ in places],
        "ids": [str(request_id) for _, _, request_id in places],
    }


def read_requests(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, StoredRequest]:
    """The stored requests among `ids`."""
    found = rows(connection, _STORED, ids=[str(request_id) for request_id in ids])
    return {request.request_id: request for request in map(_stored, found)}


def read_sources(
    connection: Connection, places: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int], StoredRequest]:
    """The stored requests that came from these partitions and offsets, appended at that instant."""
    times_ms = [at_ms for *_, at_ms in places]
    found = rows(
        connection,
        _CAME,
        partitions=[partition for partition, *_ in places],
        offsets=[offset for _, offset, _ in places],
        times_ms=times_ms,
        first_ms=min(times_ms),
        last_ms=max(times_ms),
    )
    return {(one.source_partition, one.source_offset): one for one in map(_stored, found)}


def _stored(row: Sequence[Any]) -> StoredRequest:
    return StoredRequest(UUID(str(row[0])), row[1], row[2], row[3], bytes(row[4]), row[5], row[6])
