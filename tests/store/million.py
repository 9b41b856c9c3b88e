"""A million of everything that grows: what is pending, its requests, and their customers.

Invariant: the n-th slice is of the n-th request, for the n-th customer. Slices lie in the table in
another order than they are due in.
"""

from hashlib import md5
from uuid import UUID

from saec.store.engine import Engine, transaction

ROWS = 1_000_000
# Those that cancels and skips name.
FEW = 100_000
SHARDS = 4
NOW_MS = 1_800_000_000_000
BODY_BYTES = 200
TABLES = ("pending", "requests", "customers", "cancels", "skips")

_DUE = f"{NOW_MS} + hashint4(n) %% 3600000"
_FILL = (
    f"""
    INSERT INTO pending (shard, lane, due_at_ms, request_id, slice_no, channels, recipients,
                         messages, requester, customers, schema_version, message)
    SELECT n %% {SHARDS}, n / {SHARDS} %% 2, {_DUE}, md5(n::text)::uuid, 0, 1, 1, 1, 'plans',
           ARRAY['c' || n], 1, repeat('x', {BODY_BYTES})::bytea
    FROM generate_series(1, {ROWS}) n
    """,
    f"""
    INSERT INTO requests (request_id, requester, channels, lane, due_at_ms, recipients, messages,
                          slices, content_hash, source_partition, source_offset, accepted_at_ms)
    SELECT md5(n::text)::uuid, 'plans', 1, n / {SHARDS} %% 2, {_DUE}, 1, 1, 1,
           decode(md5(n::text), 'hex'), 0, n, 0
    FROM generate_series(1, {ROWS}) n
    """,
    f"""
    INSERT INTO customers (customer_id, email, phone, opted_out, erased, appended_at_ms,
                           source_partition, source_offset)
    SELECT 'c' || n, 'c' || n || '@example.com', NULL, 0, false, 0, 0, n
    FROM generate_series(1, {ROWS}) n
    """,
    f"""
    INSERT INTO cancels (source_partition, source_offset, request_id, status, decides,
                         recipients_stopped, messages_stopped, requester, appended_at_ms, late)
    SELECT 0, n, md5(n::text)::uuid, 'CANCELLED', true, 1, 1, 'plans', 0, false
    FROM generate_series(1, {FEW}) n
    """,
    f"""
    INSERT INTO cancels (source_partition, source_offset, request_id, status, decides,
                         recipients_stopped, messages_stopped, requester, appended_at_ms, late)
    SELECT 1, n, md5(n::text)::uuid, 'UNKNOWN_REQUEST', false, 0, 0, 'plans', 0, false
    FROM generate_series({ROWS} + 1, {ROWS} + {FEW}) n
    """,
    f"""
    INSERT INTO skips (request_id, slice_no, channel, reason, messages)
    SELECT md5(n::text)::uuid, 0, 1, 'no_address', 1 FROM generate_series(1, {FEW}) n
    """,
)
_KNOWN = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND tablename = ANY(%(tables)s)"


def fill(engine: Engine) -> None:
    """Fill the tables; all that PostgreSQL knows of them is that they were empty."""
    with transaction(engine) as connection:
        for table in TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            connection.exec_driver_sql(f"ANALYZE {table}")
    for statement in _FILL:
        with transaction(engine) as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            connection.exec_driver_sql(statement)


def analyse(engine: Engine) -> None:
    """Let PostgreSQL know of the tables as they are."""
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"ANALYZE {', '.join(TABLES)}")


def is_analysed(engine: Engine) -> bool:
    """Whether PostgreSQL knows of them as they are."""
    with transaction(engine) as connection:
        known = connection.exec_driver_sql(_KNOWN, {"tables": list(TABLES)}).scalar_one()
    return bool(known)


def request_id(number: int) -> UUID:
    """The id of the n-th request."""
    return UUID(md5(str(number).encode(), usedforsecurity=False).hexdigest())
