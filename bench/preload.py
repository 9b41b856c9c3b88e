"""Fills the tables as ingest would have left them, at the speed of one INSERT … SELECT.

Invariant: ids, shards and messages are those that ingest would have made of the same requests; only
the source positions are nobody's. A large load is indexed afterwards, and the table vacuumed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from psycopg2 import extensions

from bench.say import Progress
from bench.site import Site
from bench.workload import MESSAGE, REQUESTER, Asked, Campaign, Singles
from saec.contracts.dispatch import encode_message
from saec.contracts.events import Lane, channels_to_bits
from saec.ingest.slices import MESSAGE_SCHEMA_VERSION

_CHUNK = 200_000
_INDEX_LATER = 1_000_000
_TABLES = ("requests", "pending")

_REGISTRY = """
    INSERT INTO customers (customer_id, email, phone, opted_out, erased, appended_at_ms,
                           source_partition, source_offset)
    SELECT 'c' || n, 'c' || n || '@example.com', '+55119' || lpad(n::text, 8, '0'), 0, false, 0,
           0, n
    FROM generate_series(%(first)s, %(last)s) n
    ON CONFLICT DO NOTHING
"""
_NUMBERED = """
    SELECT md5(%(label)s || ':' || given.n)::uuid AS id, given.n, given.due_ms
    FROM (SELECT n + %(before)s AS n, due_ms
          FROM unnest(%(dues_ms)s::bigint[]) WITH ORDINALITY d(due_ms, n)) given
"""
_REQUESTS = f"""
    INSERT INTO requests (request_id, requester, channels, lane, due_at_ms, recipients, messages,
                          slices, content_hash, source_partition, source_offset, accepted_at_ms)
    SELECT id, %(requester)s, 1, 0, due_ms, 1, 1, 1, decode(md5(id::text), 'hex'), 0, n, 0
    FROM ({_NUMBERED}) numbered
"""
_SINGLES = f"""
    INSERT INTO pending (shard, lane, due_at_ms, request_id, slice_no, channels, recipients,
                         messages, requester, customers, schema_version, message)
    SELECT crc32(uuid_send(id)) %% %(shards)s, 0, due_ms, id, 0, 1, 1, 1, %(requester)s,
           ARRAY['c' || n %% %(customers)s], %(version)s, %(message)s
    FROM ({_NUMBERED}) numbered
"""
_CAMPAIGN_REQUEST = """
    INSERT INTO requests (request_id, requester, campaign_id, channels, lane, due_at_ms,
                          recipients, messages, slices, content_hash, source_partition,
                          source_offset, accepted_at_ms)
    VALUES (%(id)s, %(requester)s, %(label)s, %(channels)s, %(lane)s, %(due_ms)s, %(recipients)s,
            %(messages)s, %(slices)s, decode(md5(%(id)s), 'hex'), 0, 0, 0)
"""
_CAMPAIGN_SLICES = """
    INSERT INTO pending (shard, lane, due_at_ms, request_id, slice_no, channels, recipients,
                         messages, requester, campaign_id, customers, schema_version, message)
    SELECT crc32(uuid_send(%(id)s::uuid)) %% %(shards)s, %(lane)s, %(due_ms)s, %(id)s, slice_no,
           %(channels)s, cardinality(members), cardinality(members) * %(per_recipient)s,
           %(requester)s, %(label)s, members, %(version)s, %(message)s
    FROM (SELECT (n - %(first)s) / %(slice)s AS slice_no, array_agg('c' || n ORDER BY n) AS members
          FROM generate_series(%(first)s, %(last)s) n GROUP BY 1 ORDER BY 1) cut
"""
_CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u')
"""
_INDEXES = """
    SELECT c.relname, pg_get_indexdef(i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = %(table)s::regclass
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
"""


def registry(site: Site, customers: int) -> None:
    """Register the customers c0 up to so many, if they are not yet."""
    known = site.count("SELECT count(*) FROM customers")
    progress = Progress("customers stored", customers)
    with site.connect() as connection, connection.cursor() as cursor:
        for first in range(known, customers, _CHUNK):
            last = min(first + _CHUNK, customers) - 1
            cursor.execute(_REGISTRY, {"first": first, "last": last})
            progress.at(last + 1)
    site.settle(("customers",))


def store(site: Site, asked: Asked) -> None:
    """Store what is asked for, and what is pending of it."""
    match asked:
        case Singles():
            singles(site, asked)
        case Campaign():
            campaign(site, asked)
        case _:
            assert_never(asked)


def singles(site: Site, asked: Singles) -> None:
    """Store these requests, and what is pending of them."""
    large = len(asked) >= _INDEX_LATER
    with site.connect() as connection:
        _quickly(connection)
        with _indexed_later(connection) if large else _as_they_are():
            _insert(connection, site, asked)


def dead(site: Site, asked: Singles) -> None:
    """Leave as many dead rows in `pending` as if these requests had been dispatched."""
    with site.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        _insert(connection, site, asked)
        for table in _TABLES:
            cursor.execute(
                f"DELETE FROM {table} WHERE due_at_ms = ANY(%s)", (list(set(asked.dues_ms)),)
            )
        cursor.execute("COMMIT")


def campaign(site: Site, asked: Campaign) -> None:
    """Store the requests of a campaign, and what is pending of them."""
    values = {
        "label": asked.label,
        "lane": Lane.CAMPAIGN.rank,
        "due_ms": asked.due_ms,
        "channels": channels_to_bits(asked.channels),
        "per_recipient": len(asked.channels),
        "slice": site.settings.slice_recipients,
        **_common(site),
    }
    with site.connect() as connection, connection.cursor() as cursor:
        for number, id_ in enumerate(asked.request_ids(), 1):
            members = asked.members(number)
            of_request = {
                "id": str(id_),
                "first": members[0],
                "last": members[-1],
                "recipients": len(members),
                "messages": len(members) * len(asked.channels),
                "slices": -(-len(members) // site.settings.slice_recipients),
            }
            cursor.execute(_CAMPAIGN_REQUEST, values | of_request)
            cursor.execute(_CAMPAIGN_SLICES, values | of_request)


def _insert(connection: extensions.connection, site: Site, asked: Singles) -> None:
    progress = Progress("requests stored", len(asked))
    with connection.cursor() as cursor:
        for before in range(0, len(asked), _CHUNK):
            values = {
                "label": asked.label,
                "before": before,
                "dues_ms": list(asked.dues_ms[before : before + _CHUNK]),
                "customers": asked.customers,
                **_common(site),
            }
            cursor.execute(_REQUESTS, values)
            cursor.execute(_SINGLES, values)
            progress.at(min(before + _CHUNK, len(asked)))


def _common(site: Site) -> dict[str, object]:
    return {
        "requester": REQUESTER,
        "shards": site.settings.shards,
        "version": MESSAGE_SCHEMA_VERSION,
        "message": encode_message(MESSAGE),
    }


def _quickly(connection: extensions.connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET maintenance_work_mem = '1GB'")


@contextmanager
def _as_they_are() -> Iterator[None]:
    yield


@contextmanager
def _indexed_later(connection: extensions.connection) -> Iterator[None]:
    """Without the tables' indexes, which are made again at the end: so each is built in one go."""
    drop: list[str] = []
    again: list[str] = []
    with connection.cursor() as cursor:
        for table in _TABLES:
            cursor.execute(_CONSTRAINTS, {"table": table})
            for name, definition in cursor.fetchall():
                drop.append(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
                again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
            cursor.execute(_INDEXES, {"table": table})
            for name, definition in cursor.fetchall():
                drop.append(f"DROP INDEX {name}")
                again.append(definition)
        for statement in drop:
            cursor.execute(statement)
        yield
        progress = Progress("indexes made", len(again))
        for number, statement in enumerate(again, 1):
            cursor.execute(statement)
            progress.at(number)
