"""What PostgreSQL keeps of a record beyond what an audit of the topics needs.

Ingest's own functions say what that is. Invariant: of an address or a message only a digest is
kept, made as `saec.store.export` makes it.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pyarrow as pa

from saec.contracts.decode import decode_request
from saec.contracts.dispatch import encode_message
from saec.contracts.events import CancelRequested, Lane
from saec.contracts.headers import traceparent
from saec.contracts.rejected import RejectedError
from saec.ingest import registry
from saec.ingest.requests import content_hash, hash_of
from saec.kafka.bulk import Block
from saec.kafka.records import Incoming

TABLES = """
    CREATE TABLE details (
        partition INTEGER, "offset" BIGINT, checksum UINTEGER, lane UTINYINT, message UUID,
        message_bytes INTEGER, content_hash UUID, traceparent VARCHAR);
    CREATE TABLE registered (
        partition INTEGER, "offset" BIGINT, stamped_ms BIGINT, customer_id VARCHAR, email UUID,
        phone UUID, opted_out UTINYINT, erased BOOLEAN, valid BOOLEAN);
"""
INSERT: Mapping[str, str] = {
    "details": "INSERT INTO details SELECT * FROM page",
    "registered": "INSERT INTO registered SELECT * FROM page",
}

_DETAILS = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("checksum", pa.uint32()),
        ("lane", pa.uint8()),
        ("message", pa.string()),
        ("message_bytes", pa.int32()),
        ("content_hash", pa.string()),
        ("traceparent", pa.string()),
    ]
)
_REGISTERED = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("stamped_ms", pa.int64()),
        ("customer_id", pa.string()),
        ("email", pa.string()),
        ("phone", pa.string()),
        ("opted_out", pa.uint8()),
        ("erased", pa.bool_()),
        ("valid", pa.bool_()),
    ]
)
# As the schema numbers them; null is for SAEC to choose.
_RANKS = {1: Lane.TRANSACTIONAL.rank, 2: Lane.CAMPAIGN.rank}
_FIELDS = (
    "row",
    "partition",
    "offset",
    "request_id",
    "requester",
    "campaign_id",
    "channels",
    "customers",
    "due_ms",
    "expires_ms",
    "lane",
    "attributes",
    "content_4",
)


def details(page: pa.Table, block: Block) -> pa.Table:
    """What stands in `requests` and `pending` of each request of a page."""
    rows = [_detail(row, block) for row in _rows(page)]
    return pa.Table.from_pylist(rows, _DETAILS)


def registered(block: Block, key: str) -> pa.Table:
    """What saec.registry has of each customer; the place is that of its source.

    Digests of addresses are made with `key`.
    """
    rows = [_registered(block, row, key) for row in range(len(block.values))]
    return pa.Table.from_pylist(rows, _REGISTERED)


def _rows(page: pa.Table) -> Iterator[dict[str, Any]]:
    columns = [page[name].to_pylist() for name in _FIELDS]
    for values in zip(*columns, strict=True):
        yield dict(zip(_FIELDS, values, strict=True))


def _detail(of: dict[str, Any], block: Block) -> dict[str, Any]:
    headers = block.headers(of["row"])
    customers = tuple(dict.fromkeys(of["customers"]))
    lane = _RANKS.get(of["lane"], int(len(customers) > 1))
    message, digest = of["content_4"], None
    if of["attributes"] > 1:  # the hash wants them in order
        message, digest = _in_order(block, of["row"]) or (message, None)
    head = (of["requester"], of["campaign_id"], of["channels"], customers)
    return {
        "partition": of["partition"],
        "offset": of["offset"],
        "checksum": _checksum(of["request_id"]),
        "lane": lane,
        "message": _md5(message),
        "message_bytes": len(message),
        "content_hash": digest
        or hash_of((*head, of["due_ms"], of["expires_ms"], lane), message).hex(),
        "traceparent": traceparent(headers),
    }


def _in_order(block: Block, row: int) -> tuple[bytes, str] | None:
    """The message and the hash as ingest makes them; None when it refuses the record."""
    value = block.values[row] or b""
    try:
        event = decode_request(value, block.headers(row), len(value))
    except RejectedError:
        return None
    if isinstance(event, CancelRequested):
        return None
    message = encode_message(event.message)
    return message, content_hash(event, message).hex()


def _checksum(request_id: str) -> int | None:
    """Which shard has a request is its remainder."""
    try:
        return zlib.crc32(UUID(request_id).bytes)
    except ValueError:
        return None


def _registered(block: Block, row: int, digest_key: str) -> dict[str, Any]:
    key = block.keys[row]
    source = Incoming(
        block.topic,
        block.partitions[row],
        block.offsets[row],
        block.stamps_ms[row],
        key,
        block.values[row],
        block.headers(row),
    )
    try:
        kept = registry.mention(source)
    except RejectedError:
        return {"customer_id": (key or b"").decode("utf-8", "replace"), "valid": False}
    return {
        "partition": kept.source_partition,
        "offset": kept.source_offset,
        "stamped_ms": kept.appended_at_ms,
        "customer_id": kept.customer_id,
        "email": _of_customer(digest_key, kept.customer_id, kept.email),
        "phone": _of_customer(digest_key, kept.customer_id, kept.phone),
        "opted_out": kept.opted_out or 0,
        "erased": kept.erases,
        "valid": True,
    }


def _of_customer(key: str, customer_id: str, address: str | None) -> str | None:
    return None if not address else _md5(f"{key}{customer_id}\n{address}".encode())


def _md5(value: bytes) -> str:
    return hashlib.md5(value, usedforsecurity=False).hexdigest()
