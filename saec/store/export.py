"""Copies the tables to files as they stand in one snapshot, for whoever compares them with Kafka.

Not `keys`, which no topic tells of, and not `installation`.

Invariant: memory does not grow with the tables; no address and no message leaves the database, only
digests of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from saec.store.engine import count

# Tables as large as the history are read, and each of them whole.
_WHOLE = "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on"
_COPY = r"COPY ({select}) TO STDOUT (FORMAT csv, HEADER, NULL '\N', ENCODING 'UTF8')"
_SELECT: Mapping[str, str] = {
    "positions": "SELECT topic, partition, next_offset FROM positions",
    "requests": """
        SELECT request_id, requester, campaign_id, channels, lane, due_at_ms, expires_at_ms,
               recipients, messages, slices, encode(content_hash, 'hex') AS content_hash,
               source_partition, source_offset, accepted_at_ms
        FROM requests
    """,
    "cancels": """
        SELECT source_partition, source_offset, request_id, status, decides, recipients_stopped,
               messages_stopped, requester, appended_at_ms, late
        FROM cancels
    """,
    "pending": r"""
        SELECT shard, lane, due_at_ms, seq, request_id, slice_no, expires_at_ms, channels,
               recipients, messages, requester, campaign_id, traceparent,
               cardinality(customers) AS people,
               md5(array_to_string(customers, E'\n')) AS customers, schema_version,
               md5(message) AS message
        FROM pending
    """,
    "skips": "SELECT request_id, slice_no, channel, reason, messages FROM skips",
    "customers": r"""
        SELECT customer_id, md5('{key}' || customer_id || E'\n' || email) AS email,
               md5('{key}' || customer_id || E'\n' || phone) AS phone, opted_out, erased,
               appended_at_ms, source_partition, source_offset
        FROM customers
    """,
    "shards": "SELECT shard, epoch, batch_no, ledger_offset FROM shards",
    "claims": """
        SELECT shard, batch_no, seq FROM claims LEFT JOIN LATERAL unnest(seqs) c(seq) ON true
    """,
}
EXPORTED: Mapping[str, Mapping[str, str]] = {
    "positions": {"topic": "VARCHAR", "partition": "INTEGER", "next_offset": "BIGINT"},
    "requests": {
        "request_id": "UUID",
        "requester": "VARCHAR",
        "campaign_id": "VARCHAR",
        "channels": "UTINYINT",
        "lane": "UTINYINT",
        "due_at_ms": "BIGINT",
        "expires_at_ms": "BIGINT",
        "recipients": "INTEGER",
        "messages": "INTEGER",
        "slices": "INTEGER",
        "content_hash": "UUID",
        "source_partition": "INTEGER",
        "source_offset": "BIGINT",
        "accepted_at_ms": "BIGINT",
    },
    "cancels": {
        "source_partition": "INTEGER",
        "source_offset": "BIGINT",
        "request_id": "UUID",
        "status": "VARCHAR",
        "decides": "BOOLEAN",
        "recipients_stopped": "INTEGER",
        "messages_stopped": "INTEGER",
        "requester": "VARCHAR",
        "appended_at_ms": "BIGINT",
        "late": "BOOLEAN",
    },
    "pending": {
        "shard": "INTEGER",
        "lane": "UTINYINT",
        "due_at_ms": "BIGINT",
        "seq": "BIGINT",
        "request_id": "UUID",
        "slice_no": "INTEGER",
        "expires_at_ms": "BIGINT",
        "channels": "UTINYINT",
        "recipients": "INTEGER",
        "messages": "INTEGER",
        "requester": "VARCHAR",
        "campaign_id": "VARCHAR",
        "traceparent": "VARCHAR",
        "people": "INTEGER",
        "customers": "UUID",
        "schema_version": "INTEGER",
        "message": "UUID",
    },
    "skips": {
        "request_id": "UUID",
        "slice_no": "INTEGER",
        "channel": "UTINYINT",
        "reason": "VARCHAR",
        "messages": "INTEGER",
    },
    "customers": {
        "customer_id": "VARCHAR",
        "email": "UUID",
        "phone": "UUID",
        "opted_out": "UTINYINT",
        "erased": "BOOLEAN",
        "appended_at_ms": "BIGINT",
        "source_partition": "INTEGER",
        "source_offset": "BIGINT",
    },
    "shards": {
        "shard": "INTEGER",
        "epoch": "BIGINT",
        "batch_no": "BIGINT",
        "ledger_offset": "BIGINT",
    },
    "claims": {"shard": "INTEGER", "batch_no": "BIGINT", "seq": "BIGINT"},
}
"""The columns of each file, in order. A digest of 16 bytes is a UUID.

A digest is the MD5 of what is digested: a message as it is stored; customers with a line end
between two of them; an address behind a key that the caller chooses, its customer's id and a line
end, so that nobody else can try addresses. `claims` has a row for each slice that a claim names,
without a seq when it names none.
"""


def export(connection: Connection, table: str, path: Path, key: str) -> None:
    """Write one table as CSV, its columns as EXPORTED says; null is \\N. `key` has letters alone.

    The caller's transaction is a snapshot, so that several tables belong together.
    """
    count(connection, _WHOLE)
    cursor: Any = connection.connection.cursor()
    with cursor, path.open("wb") as file:
        cursor.copy_expert(_COPY.format(select=_SELECT[table].replace("{key}", key)), file)
