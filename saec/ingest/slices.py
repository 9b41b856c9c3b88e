"""Cuts a request into slices: what is claimed, dispatched and cancelled as a unit.

Pure. Invariant: every customer and channel of the request is in exactly one slice, PUSH alone in
one of its own, and no slice makes more bytes than a batch may carry.
"""

from collections.abc import Iterator

from saec.contracts.dispatch import encode_message
from saec.contracts.events import Channel, ScheduleRequested, channels_to_bits
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.store.requests import SliceRow
from saec.store.shards import shard_of

MESSAGE_SCHEMA_VERSION = 1
SLICE_BYTES = 8 * 1024 * 1024
"""What the messages of a slice come to, at most."""
_REQUEST_BYTES = 256 * 1024 * 1024


def cut(
    event: ScheduleRequested, *, shards: int, most_recipients: int, traceparent: str | None
) -> list[SliceRow]:
    """The slices of a request, numbered from 0.

    Raises:
        RejectedError: each slice carries the message, and together they would take too much room.
    """
    message = encode_message(event.message)
    shard = shard_of(event.id, shards)
    parts = list(_parts(event, len(message), most_recipients))
    if len(parts) * len(message) > _REQUEST_BYTES:
        raise RejectedError(
            Reason.REQUEST_TOO_LARGE, "message: too large for so many customers", event.id
        )
    return [
        _row(event, number, part, shard, message, traceparent) for number, part in enumerate(parts)
    ]


_Part = tuple[tuple[Channel, ...], tuple[str, ...]]


def _parts(event: ScheduleRequested, message_bytes: int, most_recipients: int) -> Iterator[_Part]:
    personal = tuple(channel for channel in event.channels if channel is not Channel.PUSH)
    if personal:
        by_size = SLICE_BYTES // (message_bytes * len(personal))
        step = max(1, min(most_recipients, by_size))
        for start in range(0, len(event.customers), step):
            yield personal, event.customers[start : start + step]
    if Channel.PUSH in event.channels:
        yield (Channel.PUSH,), ()


def _row(
    event: ScheduleRequested,
    number: int,
    part: _Part,
    shard: int,
    message: bytes,
    traceparent: str | None,
) -> SliceRow:
    channels, customers = part
    recipients = max(1, len(customers))
    return SliceRow(
        shard,
        event.lane.rank,
        event.due_at_ms,
        event.id,
        number,
        event.expires_at_ms,
        channels_to_bits(channels),
        recipients,
        recipients * len(channels),
        event.requester,
        event.campaign_id,
        traceparent,
        customers,
        MESSAGE_SCHEMA_VERSION,
        message,
    )
