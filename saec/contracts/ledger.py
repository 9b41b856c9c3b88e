"""The ledger's records: which worker took a shard, which batch it opened, which one happened.

Invariant: a batch happened if and only if its BatchCommitted is committed in the shard's
partition. No personal data.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, assert_never
from uuid import UUID

from saec.contracts import avro, varint
from saec.contracts.events import Channel
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

_TAKEN, _OPENED, _COMMITTED = "shard_taken", "batch_opened", "batch_committed"


@dataclass(frozen=True, slots=True)
class ShardTaken:
    """The sentinel of a takeover; `attempt` tells it from any other."""

    shard: int
    owner: str
    epoch: int
    attempt: UUID
    batch_no: int
    taken_at_ms: int


@dataclass(frozen=True, slots=True)
class BatchOpened:
    """A batch's transaction has begun; says nothing about how it ended."""

    shard: int
    batch_no: int
    owner: str
    epoch: int


class SliceDispatched(NamedTuple):
    """A slice that the batch finished: `messages` went out to `recipients` less the skipped."""

    request_id: UUID
    slice_no: int
    recipients: int
    messages: int


@dataclass(frozen=True, slots=True)
class SliceSkip:
    """Messages of a slice that could not go out by a channel, for one reason."""

    request_id: UUID
    slice_no: int
    channel: Channel
    reason: Reason
    messages: int


@dataclass(frozen=True, slots=True)
class BatchCommitted:
    """A batch happened: exactly these slices, with these skips."""

    shard: int
    batch_no: int
    owner: str
    epoch: int
    dispatched_at_ms: int
    slices: tuple[SliceDispatched, ...]
    skips: tuple[SliceSkip, ...]


LedgerRecord = ShardTaken | BatchOpened | BatchCommitted


def event_type(record: LedgerRecord) -> str:
    """The record's type for its headers: saec.v1.BatchCommitted …"""
    return f"saec.v1.{type(record).__name__}"


def encode_ledger(record: LedgerRecord) -> bytes:
    """The value for the ledger topic."""
    match record:
        case ShardTaken():
            return _encode_taken(record)
        case BatchOpened():
            return _encode_opened(record)
        case BatchCommitted():
            return _encode_committed(record)
        case _:
            assert_never(record)


def decode_ledger(value: bytes) -> LedgerRecord:
    """The record in a value of the ledger topic. Raises RejectedError."""
    name, fields = avro.decode_single(value, (_TAKEN, _OPENED, _COMMITTED))
    try:
        return _record(name, fields)
    except ValueError:  # a later release's channel or reason
        raise RejectedError(Reason.INVALID_EVENT, "a ledger record of a later release") from None


def _encode_taken(record: ShardTaken) -> bytes:
    fields = {
        "shard": record.shard,
        "owner": record.owner,
        "epoch": record.epoch,
        "attempt": record.attempt.bytes,
        "batch_no": record.batch_no,
        "taken_at": record.taken_at_ms,
    }
    return avro.encode_single(_TAKEN, fields)


def _encode_opened(record: BatchOpened) -> bytes:
    fields = {
        "shard": record.shard,
        "batch_no": record.batch_no,
        "owner": record.owner,
        "epoch": record.epoch,
    }
    return avro.encode_single(_OPENED, fields)


def _encode_committed(record: BatchCommitted) -> bytes:
    """Spliced by hand: it stands in the way of every batch."""
    parts = [
        avro.prefix(_COMMITTED),
        varint.long(record.shard),
        varint.long(record.batch_no),
        varint.text(record.owner),
        varint.long(record.epoch),
        varint.long(record.dispatched_at_ms),
    ]
    if record.slices:
        parts.append(varint.long(len(record.slices)))
        parts += [_slice_bytes(item) for item in record.slices]
    parts.append(b"\x00")
    if record.skips:
        parts.append(varint.long(len(record.skips)))
        parts += [_skip_bytes(item) for item in record.skips]
    parts.append(b"\x00")
    return b"".join(parts)


def _slice_bytes(item: SliceDispatched) -> bytes:
    long = varint.long
    return item.request_id.bytes + long(item.slice_no) + long(item.recipients) + long(item.messages)


def _skip_bytes(item: SliceSkip) -> bytes:
    return (
        item.request_id.bytes
        + varint.long(item.slice_no)
        + _channel_bytes()[item.channel]
        + varint.text(item.reason.value)
        + varint.long(item.messages)
    )


@cache
def _channel_bytes() -> dict[Channel, bytes]:
    """Each channel as the enum's index."""
    skips = next(f for f in avro.load(_COMMITTED)["fields"] if f["name"] == "skips")
    field = next(f for f in skips["type"]["items"]["fields"] if f["name"] == "channel")
    return {c: varint.long(field["type"]["symbols"].index(c.value)) for c in Channel}


def _record(name: str, fields: dict[str, Any]) -> LedgerRecord:
    if name == _OPENED:
        return BatchOpened(**fields)
    if name == _TAKEN:
        fields["attempt"] = UUID(bytes=fields["attempt"])
        return ShardTaken(taken_at_ms=fields.pop("taken_at"), **fields)
    slices, skips = fields.pop("slices"), fields.pop("skips")
    return BatchCommitted(
        dispatched_at_ms=fields.pop("dispatched_at"),
        slices=tuple(_slice(item) for item in slices),
        skips=tuple(_skip(item) for item in skips),
        **fields,
    )


def _slice(item: dict[str, Any]) -> SliceDispatched:
    return SliceDispatched(
        UUID(bytes=item["request_id"]), item["slice_no"], item["recipients"], item["messages"]
    )


def _skip(item: dict[str, Any]) -> SliceSkip:
    return SliceSkip(
        UUID(bytes=item["request_id"]),
        item["slice_no"],
        Channel(item["channel"]),
        Reason(item["reason"]),
        item["messages"],
    )
