"""The answer to a request, a cancel or a customer record.

Invariant: an answer names fields and positions, never a value that was sent in.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from saec.contracts import avro, varint
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

EVENT_TYPE = "saec.v1.RequestStatus"
_NAME = "request_status"


class Status(StrEnum):
    """What became of it."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    TOO_LATE = "TOO_LATE"
    ALREADY_CANCELLED = "ALREADY_CANCELLED"
    UNKNOWN_REQUEST = "UNKNOWN_REQUEST"
    SKIPPED = "SKIPPED"
    EXPIRED = "EXPIRED"
    SENT = "SENT"


_LATE = "/late"
_NO_COUNTS: Mapping[str, int] = MappingProxyType({})


class RequestStatus(NamedTuple):
    """One answer: of a request (`request_id`) or of a customer record (`customer_id`)."""

    request_id: str | None
    status: Status
    at_ms: int
    reason: Reason | None = None
    counts: Mapping[str, int] = _NO_COUNTS
    detail: str | None = None
    customer_id: str | None = None


def late_id(topic: str, partition: int, offset: int) -> str:
    """The `ce_id` of the second answer to a cancel: of one that was read before its request."""
    return f"{topic}/{partition}/{offset}{_LATE}"


def answered(event_id: str) -> tuple[str, bool]:
    """The record that an answer with this `ce_id` is about, and whether it is a second one."""
    about = event_id.removesuffix(_LATE)
    return about, about != event_id


def encode_status(status: RequestStatus) -> bytes:
    """The value for the status topic. Spliced by hand: every request gets one."""
    parts = [
        avro.prefix(_NAME),
        varint.optional_text(status.request_id),
        varint.optional_text(status.customer_id),
        _status_bytes()[status.status],
        varint.optional_text(None if status.reason is None else status.reason.value),
    ]
    if status.counts:
        parts.append(varint.long(len(status.counts)))
        for name, count in status.counts.items():
            parts += varint.text(name), varint.long(count)
    parts += b"\x00", varint.optional_text(status.detail), varint.long(status.at_ms)
    return b"".join(parts)


def decode_status(value: bytes) -> RequestStatus:
    """The answer in a record of the status topic. Raises RejectedError."""
    _, fields = avro.decode_single(value, (_NAME,))
    try:
        return RequestStatus(
            request_id=fields["request_id"],
            customer_id=fields["customer_id"],
            status=Status(fields["status"]),
            reason=None if fields["reason"] is None else Reason(fields["reason"]),
            counts=fields["counts"],
            detail=fields["detail"],
            at_ms=fields["at"],
        )
    except ValueError:  # a later release's status or reason
        raise RejectedError(Reason.INVALID_EVENT, "a status of a later release") from None


@cache
def _status_bytes() -> dict[Status, bytes]:
    """Each status as the enum's index."""
    field = next(f for f in avro.load(_NAME)["fields"] if f["name"] == "status")
    return {s: varint.long(field["type"]["symbols"].index(s.value)) for s in Status}
