"""The message a sender receives, and how its bytes are put together.

A slice's messages share everything after the address: `slice_tail` is made once a slice,
`recipient_head` once a message, and head + tail is the whole value.
Invariant: the same bytes as a general Avro encoder writes, without building a record each.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha1
from typing import Any
from uuid import UUID

from saec.contracts import avro, varint
from saec.contracts.events import Channel, Message
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

EVENT_TYPE = "saec.v1.DispatchMessage"
_NAME = "dispatch_message"
_NAMES = {channel: f"{channel.value}:".encode() for channel in Channel}
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


@dataclass(frozen=True)
class DispatchMessage:
    """One message for one customer by one channel; PUSH has neither customer nor address."""

    message_id: str
    customer_id: str | None
    channel: Channel
    address: str | None
    dispatched_at_ms: int
    request_id: UUID
    campaign_id: str | None
    requester: str
    due_at_ms: int
    expires_at_ms: int | None
    message: Message

    def __repr__(self) -> str:
        """Without the customer, the address and the message: a message may end up in a log."""
        return f"DispatchMessage(message_id={self.message_id!r}, channel={self.channel!r})"


def message_id(request_id: bytes, channel: Channel, customer_id: str | None) -> str:
    """The message's id: UUIDv5, namespace the request id (16 bytes), name `CHANNEL:customer`.

    The customer is empty for PUSH. Request 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10, EMAIL,
    customer 42: a1b5a6f1-dfe4-5aa3-8f98-5d783ebce8e2; PUSH: 680e1ff1-9953-537f-aeed-2008d586d493.
    """
    name = _NAMES[channel] + (customer_id or "").encode()
    digits = sha1(request_id + name, usedforsecurity=False).hexdigest()
    return (
        f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}"
        f"-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    )


def recipient_head(
    message_id: str, customer_id: str | None, channel: Channel, address: str | None
) -> bytes:
    """The part of a value that differs by recipient, from its first byte on."""
    return (
        _id_prefix()
        + message_id.encode()
        + varint.optional_text(customer_id)
        + _channel_bytes()[channel]
        + varint.optional_text(address)
    )


def slice_tail(
    dispatched_at_ms: int,
    request_id: UUID,
    campaign_id: str | None,
    requester: str,
    due_at_ms: int,
    expires_at_ms: int | None,
    message_part: bytes,
) -> bytes:
    """The part of a value that a whole slice shares; `message_part` by `encode_message`."""
    return (
        varint.long(dispatched_at_ms)
        + varint.text(str(request_id))
        + _plan(campaign_id, requester, due_at_ms, expires_at_ms)
        + message_part
    )


def encode_message(message: Message) -> bytes:
    """The message as it stands at the end of a dispatch message."""
    parts = [
        varint.optional_text(message.subject),
        varint.long(len(message.body)),
        message.body,
        varint.text(message.content_type),
    ]
    if message.attributes:
        parts.append(varint.long(len(message.attributes)))
        for key, value in message.attributes.items():
            parts += varint.text(key), varint.text(value)
    parts.append(b"\x00")
    return b"".join(parts)


def decode_dispatch(value: bytes) -> DispatchMessage:
    """The message in a record of a channel topic. Raises RejectedError."""
    _, fields = avro.decode_single(value, (_NAME,))
    try:
        return _message(fields)
    except ValueError:  # a later release's channel, or a message beyond our bounds
        raise RejectedError(Reason.INVALID_EVENT, "not a dispatch message") from None


def _message(fields: dict[str, Any]) -> DispatchMessage:
    return DispatchMessage(
        message_id=fields["message_id"],
        customer_id=fields["customer_id"],
        channel=Channel(fields["channel"]),
        address=fields["address"],
        dispatched_at_ms=fields["dispatched_at"],
        request_id=UUID(fields["request_id"]),
        campaign_id=fields["campaign_id"],
        requester=fields["requester"],
        due_at_ms=fields["due_at"],
        expires_at_ms=fields["expires_at"],
        message=Message.model_validate(fields["message"]),
    )


@lru_cache(maxsize=1_024)  # the slices of a batch mostly have it in common
def _plan(
    campaign_id: str | None, requester: str, due_at_ms: int, expires_at_ms: int | None
) -> bytes:
    """Whose it is, and when."""
    return (
        varint.optional_text(campaign_id)
        + varint.text(requester)
        + varint.long(due_at_ms)
        + varint.optional_long(expires_at_ms)
    )


@cache
def _id_prefix() -> bytes:
    """What comes before the message id: the schema's prefix and the length of a UUID's text."""
    return avro.prefix(_NAME) + varint.long(36)


@cache
def _channel_bytes() -> dict[Channel, bytes]:
    """Each channel as the enum's index."""
    field = next(f for f in avro.load(_NAME)["fields"] if f["name"] == "channel")
    return {c: varint.long(field["type"]["symbols"].index(c.value)) for c in Channel}
