"""What a request or a cancel is answered: from the event, its source, and what is stored.

Pure, and without a clock: a redelivered record gets the same answer. Where an answer could depend
on what came later (an id that was stored meanwhile), source positions tell what was there before;
positions of different partitions cannot be compared, there the first to arrive wins. A cancel that
is unknown for that reason is not lost: `saec.store.cancels.hold_unknown`.
"""

from dataclasses import dataclass

from saec.contracts.events import CancelRequested, ScheduleRequested
from saec.contracts.instants import FIRST_PLAUSIBLE_MS
from saec.contracts.status import Status
from saec.errors import Reason
from saec.kafka.records import Incoming
from saec.store.cancels import CancelRow, Stopped
from saec.store.requests import StoredRequest

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How far before its append time, and how far after it, a request may be due."""

    grace_ms: int
    horizon_ms: int

    @classmethod
    def of(cls, grace_s: int, horizon_days: int) -> "Limits":
        """From the settings."""
        return cls(grace_s * 1000, horizon_days * _DAY_MS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer, and its reason when it is a refusal."""

    status: Status
    reason: Reason | None = None
    detail: str | None = None


def refusal(event: ScheduleRequested, appended_at_ms: int, limits: Limits) -> Verdict | None:
    """Why a request with a new id cannot be accepted; None when it can."""
    if event.due_at_ms < appended_at_ms - limits.grace_ms:
        return Verdict(Status.REJECTED, Reason.DUE_IN_THE_PAST, _too_late(event.due_at_ms))
    if event.due_at_ms > appended_at_ms + limits.horizon_ms:
        return Verdict(Status.REJECTED, Reason.DUE_BEYOND_HORIZON, "due_at: beyond the horizon")
    return None


def _too_late(due_at_ms: int) -> str:
    if due_at_ms < FIRST_PLAUSIBLE_MS:
        return "due_at: of the early 1970s; a number counts milliseconds, not seconds"
    return "due_at: before the grace period"


def schedule(
    source: Incoming, content_hash: bytes, refused: Verdict | None, stored: StoredRequest | None
) -> Verdict:
    """The answer to a request, once whatever could be stored is stored.

    `refused` is what `refusal` says of it, `stored` what now stands under its id.
    """
    if stored is None or (refused is not None and _came_before(source, stored)):
        if refused is None:
            raise AssertionError("an acceptable request with a new id was not stored")
        return refused
    if _is_source_of(source, stored):
        return Verdict(Status.ACCEPTED)
    if stored.content_hash == content_hash:
        return Verdict(Status.DUPLICATE)
    return Verdict(Status.REJECTED, Reason.ID_TAKEN, "id: taken by a request with other content")


def cancel(
    source: Incoming,
    event: CancelRequested,
    stored: StoredRequest | None,
    decided: CancelRow | None,
    stopped: Stopped,
) -> CancelRow:
    """The answer to a cancel that was not answered before.

    `decided` is the cancel that decided the request, `stopped` what this one has just stopped.
    """
    if stored is None or _came_before(source, stored):
        return _row(source, event, Status.UNKNOWN_REQUEST)
    if stored.requester != event.requester:
        return _row(source, event, Status.REJECTED)
    if decided is not None:
        repeated = decided.status == Status.TOO_LATE
        return _row(source, event, Status.TOO_LATE if repeated else Status.ALREADY_CANCELLED)
    if stopped.messages == 0:
        return _row(source, event, Status.TOO_LATE, decides=True)
    return _row(source, event, Status.CANCELLED, decides=True, stopped=stopped)


def decides(
    source: Incoming,
    event: CancelRequested,
    stored: StoredRequest | None,
    decided: CancelRow | None,
) -> bool:
    """Whether a cancel may stop anything: it is the first of this requester for this request."""
    return (
        stored is not None
        and not _came_before(source, stored)
        and stored.requester == event.requester
        and decided is None
    )


def _row(
    source: Incoming,
    event: CancelRequested,
    status: Status,
    *,
    decides: bool = False,
    stopped: Stopped = Stopped(),  # noqa: B008  (frozen)
) -> CancelRow:
    return CancelRow(
        source.partition,
        source.offset,
        event.id,
        status.value,
        decides,
        stopped.recipients,
        stopped.messages,
        event.requester,
        source.appended_at_ms,
    )


def _is_source_of(source: Incoming, stored: StoredRequest) -> bool:
    return (source.partition, source.offset) == (stored.source_partition, stored.source_offset)


def _came_before(source: Incoming, stored: StoredRequest) -> bool:
    return source.partition == stored.source_partition and source.offset < stored.source_offset
