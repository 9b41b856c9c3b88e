"""The answer to a request, a cancel or a customer record.

Invariant: an answer names fields and positions, never a value that was sent in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from saec.contracts import avro
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


@dataclass(frozen=True)
class RequestStatus:
    """One answer: of a request (`request_id`) or of a customer record (`customer_id`)."""

    request_id: str | None
    status: Status
    at_ms: int
    reason: Reason | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    detail: str | None = None
    customer_id: str | None = None


def encode_status(status: RequestStatus) -> bytes:
    """The value for the status topic."""
    return avro.encode_single(
        _NAME,
        {
            "request_id": status.request_id,
            "customer_id": status.customer_id,
            "status": status.status.value,
            "reason": None if status.reason is None else status.reason.value,
            "counts": status.counts,
            "detail": status.detail,
            "at": status.at_ms,
        },
    )


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
