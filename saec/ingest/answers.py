"""Builds what ingest says: statuses, and copies of what was refused.

Invariant: the same source record gives the same answer byte for byte; nothing here quotes a value.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from saec.contracts import headers
from saec.contracts.rejected import RejectedError
from saec.contracts.status import EVENT_TYPE, RequestStatus, Status, encode_status, late_id
from saec.errors import Reason
from saec.ingest.decide import Verdict
from saec.kafka.incoming import weight
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings, Topics
from saec.store.cancels import CancelRow

# librdkafka shows none of the headers of a record that has more than 100,000; ours come behind.
_MOST_HEADERS = 99_000
_NO_COUNTS: Mapping[str, int] = {}


def request_status(
    topics: Topics,
    source: Incoming,
    request_id: UUID | None,
    verdict: Verdict,
    counts: Mapping[str, int] = _NO_COUNTS,
) -> Outgoing:
    """The answer to a record of the requests topic, keyed by the request id if it is known."""
    subject = None if request_id is None else str(request_id)
    return _status(
        topics,
        source,
        RequestStatus(
            request_id=subject,
            status=verdict.status,
            at_ms=source.appended_at_ms,
            reason=verdict.reason,
            counts=counts,
            detail=verdict.detail,
        ),
        subject,
        "/saec/requests",
    )


def late_status(topics: Topics, source: Incoming, row: CancelRow) -> Outgoing:
    """The second answer to a cancel that was read before `source`, the request it stopped."""
    return _status(
        topics,
        source,
        RequestStatus(
            request_id=str(row.request_id),
            status=Status.CANCELLED,
            at_ms=row.appended_at_ms,
            counts={
                "recipients_stopped": row.recipients_stopped,
                "recipients_left": 0,
                "messages_stopped": row.messages_stopped,
                "messages_left": 0,
            },
        ),
        str(row.request_id),
        "/saec/requests",
        late_id(source.topic, row.source_partition, row.source_offset),
    )


def customer_status(
    topics: Topics, source: Incoming, customer_id: str | None, reason: Reason, detail: str
) -> Outgoing:
    """What was refused of a record of the customers topic."""
    return _status(
        topics,
        source,
        RequestStatus(
            request_id=None,
            customer_id=customer_id,
            status=Status.REJECTED,
            at_ms=source.appended_at_ms,
            reason=reason,
            detail=detail,
        ),
        customer_id,
        "/saec/customers",
    )


def rejected_copy(
    settings: Settings, source: Incoming, verdict: Verdict, *, keep: bool
) -> Outgoing:
    """The record for saec.rejected: as it came, without its value and headers unless `keep`.

    A record that saec.rejected could not hold comes without them and without its key; where it
    stands in the source topic is in the headers.
    """
    fits = not source.cut and weight(source) <= settings.most_copied_bytes
    reason = Reason.INVALID_EVENT if verdict.reason is None else verdict.reason
    return Outgoing(
        settings.topics.rejected,
        source.value if keep and fits else None,
        source.key if fits else None,
        [
            *(_foreign_headers(source) if keep and fits else ()),
            ("saec-reason", reason.value.encode()),
            ("saec-detail", (verdict.detail or "").encode()),
            ("saec-source-topic", source.topic.encode()),
            ("saec-source-partition", str(source.partition).encode()),
            ("saec-source-offset", str(source.offset).encode()),
        ],
    )


def _foreign_headers(source: Incoming) -> Iterable[tuple[str, bytes | None]]:
    """The headers as they came, less what would pass for ours; none where they would hide ours."""
    kept = [header for header in source.headers or () if not header[0].startswith("saec-")]
    return kept if len(kept) <= _MOST_HEADERS else ()


def verdict_of(error: RejectedError) -> Verdict:
    """The refusal of a record that is no valid event."""
    return Verdict(Status.REJECTED, error.reason, error.detail)


def _status(
    topics: Topics,
    source: Incoming,
    status: RequestStatus,
    key: str | None,
    origin: str,
    about: str | None = None,
) -> Outgoing:
    event_id = about or f"{source.topic}/{source.partition}/{source.offset}"
    if status.customer_id is not None:
        event_id += f"/{status.reason}"
    return Outgoing(
        topics.status,
        encode_status(status),
        None if key is None else key.encode(),
        headers.cloud_event(EVENT_TYPE, origin, event_id, headers.traceparent(source.headers)),
    )
