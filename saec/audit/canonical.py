"""Brings what was written otherwise into the form in which SAEC writes it today.

Requests may come as JSON, everything may be of an older release or of another encoder. Invariant:
the meaning is what SAEC's own decoders say; what they refuse is refused here.
"""

from typing import Any

from saec.contracts import avro
from saec.contracts.decode import decode_request
from saec.contracts.dispatch import (
    DispatchMessage,
    decode_dispatch,
    encode_message,
    recipient_head,
    slice_tail,
)
from saec.contracts.events import CancelRequested, ScheduleRequested
from saec.contracts.headers import RawHeaders
from saec.contracts.ledger import decode_ledger, encode_ledger
from saec.contracts.status import decode_status, encode_status


def request(value: bytes | None, headers: RawHeaders) -> bytes:
    """A record of saec.requests. Raises RejectedError."""
    # How large it may be, was decided when it was taken in.
    event = decode_request(value, headers, len(value or b""))
    if isinstance(event, CancelRequested):
        return avro.encode_single(
            "cancel_requested", {"id": str(event.id), "requester": event.requester}
        )
    return avro.encode_single("schedule_requested", _fields(event))


def message(value: bytes | None) -> bytes:
    """A record of a channel topic. Raises RejectedError."""
    read: DispatchMessage = decode_dispatch(value or b"")
    head = recipient_head(read.message_id, read.customer_id, read.channel, read.address)
    return head + slice_tail(
        read.dispatched_at_ms,
        read.request_id,
        read.campaign_id,
        read.requester,
        read.due_at_ms,
        read.expires_at_ms,
        encode_message(read.message),
    )


def status(value: bytes | None) -> bytes:
    """A record of saec.status. Raises RejectedError."""
    return encode_status(decode_status(value or b""))


def ledger(value: bytes | None) -> bytes:
    """A record of saec.ledger. Raises RejectedError."""
    return encode_ledger(decode_ledger(value or b""))


def _fields(event: ScheduleRequested) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "requester": event.requester,
        "campaign_id": event.campaign_id,
        "channels": [channel.value for channel in event.channels],
        "customers": list(event.customers),
        "due_at": event.due_at_ms,
        "expires_at": event.expires_at_ms,
        "lane": event.lane.value,
        "message": event.message.model_dump(),
    }
