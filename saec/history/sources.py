"""Reads what was asked: the records of saec.requests that PostgreSQL and the answers point to.

Invariant: a record counts only if it names this very request; the topic may have been recreated.
"""

from dataclasses import dataclass
from uuid import UUID

from saec.contracts.decode import decode_request
from saec.contracts.events import CancelRequested, Channel, ScheduleRequested
from saec.contracts.rejected import RejectedError
from saec.history.events import Asked, CancelAsked, Place
from saec.kafka.records import Incoming
from saec.kafka.seek import Partition, Seeker


@dataclass(frozen=True, slots=True)
class Source:
    """A record of saec.requests as it stands; no event: it is invalid, or of another request."""

    place: Place
    appended_at_ms: int
    event: ScheduleRequested | CancelRequested | None
    is_other: bool = False

    @property
    def customers(self) -> tuple[str, ...] | None:
        """Whom it asks to send to; None where that cannot be read."""
        return self.event.customers if isinstance(self.event, ScheduleRequested) else None


def read_source(seeker: Seeker, place: Place, request_id: UUID) -> Source | None:
    """The record that stands there; None when it is no longer kept.

    Raises:
        BrokerUnavailableError: no answer.
    """
    record = seeker.record(Partition(place.topic, place.partition), place.offset)
    if record is None:
        return None
    named, event = _event(record)
    if event is not None and event.id == request_id:
        return Source(place, record.appended_at_ms, event)
    return Source(place, record.appended_at_ms, None, is_other=named != request_id)


def asked(source: Source) -> Asked | CancelAsked:
    """What a record says, for the story."""
    match source.event:
        case CancelRequested(requester=requester):
            return CancelAsked(source.appended_at_ms, source.place, requester)
        case ScheduleRequested() as event:
            return Asked(
                source.appended_at_ms,
                source.place,
                event.requester,
                event.campaign_id,
                event.channels,
                len(event.customers) + (Channel.PUSH in event.channels),
                event.due_at_ms,
                event.expires_at_ms,
            )
        case None:
            return Asked(source.appended_at_ms, source.place)


def _event(record: Incoming) -> tuple[UUID | None, ScheduleRequested | CancelRequested | None]:
    """The id that a record names, and its event if it is a valid one."""
    # Its size was judged when it came, by the settings of that day.
    as_large_as_it_is = len(record.value or b"")
    try:
        event = decode_request(record.value, record.headers, as_large_as_it_is)
    except RejectedError as error:
        return error.request_id, None
    return event.id, event
