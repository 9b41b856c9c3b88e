"""Stores requests again that were accepted before, with their slices; answers nothing.

Invariant: what was accepted is stored, what was refused is not, whatever the settings say today.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from saec.contracts.decode import decode_request
from saec.contracts.events import ScheduleRequested
from saec.contracts.rejected import RejectedError
from saec.contracts.status import Status, decode_status
from saec.ingest.cancels import Cancelling
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming, Outgoing
from saec.recover.errors import RecoverError
from saec.recover.given import Given, source_of
from saec.settings import Settings
from saec.store.engine import Engine, transaction
from saec.store.recovery import known_requests


@dataclass(frozen=True, slots=True)
class Sorted:
    """A piece of saec.requests: what asks for something, and what cancels."""

    schedules: list[tuple[ScheduleRequested, Incoming]] = field(default_factory=list)
    stops: list[Cancelling] = field(default_factory=list)


def sort(settings: Settings, batch: Sequence[Incoming]) -> Sorted:
    """Leaves out what is no valid event: it changes nothing."""
    found = Sorted()
    for source in batch:
        try:
            event = decode_request(source.value, source.headers, settings.max_request_bytes)
        except RejectedError:
            continue
        if isinstance(event, ScheduleRequested):
            found.schedules.append((event, source))
        else:
            found.stops.append(Cancelling(replace(source, value=None), event))
    return found


_MANY = 10_000
_FOUND = {Status.CANCELLED, Status.TOO_LATE}


class RequestReplay:
    """Feeds ingest with requests of which it is known what they were answered.

    `undecided` counts those of which it is not known any more: they are decided anew. `cancelled`
    are requests that a cancel was answered to have found.
    """

    def __init__(self, settings: Settings, engine: Engine, shard_count: int, given: Given) -> None:
        self._settings = settings
        self._engine = engine
        self._intake = RequestIntake(settings, engine, shard_count)
        self._given = given
        self.undecided = 0
        self.cancelled: set[UUID] = set()

    def accepted(self, batch: Sequence[Incoming]) -> list[tuple[ScheduleRequested, Incoming]]:
        """Those that were accepted, and those of which the answer is not kept any more.

        Raises:
            RecoverError: one that was accepted cannot be read any more.
        """
        found = sort(self._settings, batch)
        self._check_readable(batch, found)
        self.cancelled |= {
            stop.event.id for stop in found.stops if self._given.status(stop.source) in _FOUND
        }
        given = [(self._given.status(source), event, source) for event, source in found.schedules]
        self.undecided += sum(status is None for status, _, _ in given)
        return [
            (event, source) for status, event, source in given if status in {None, Status.ACCEPTED}
        ]

    def store(self, batch: Sequence[Incoming]) -> int:
        """Store the accepted ones that are not stored yet; returns how many.

        Raises:
            RecoverError: one that was accepted cannot be.
        """
        wanted = self.accepted(batch)
        new = len(wanted) - len(self._known(wanted))
        sources = [source for _, source in wanted]
        said = self._intake.take(sources, {}) if sources else []
        self._check(sources, said)
        if len(self.cancelled) > _MANY:
            with transaction(self._engine) as connection:
                self.cancelled -= known_requests(connection, self.cancelled)
        return new

    def count(self, batch: Sequence[Incoming]) -> int:
        """How many `store` would store."""
        wanted = self.accepted(batch)
        return len({event.id for event, _ in wanted} - self._known(wanted))

    def store_named(self, batch: Sequence[Incoming], ids: Collection[UUID]) -> set[UUID]:
        """Store those of these ids, which nobody answered yet; returns the ids that are there."""
        wanted = [one for one in sort(self._settings, batch).schedules if one[0].id in ids]
        if wanted:
            self._intake.take([source for _, source in wanted], {})
        return self._known(wanted)

    def _known(self, wanted: Sequence[tuple[ScheduleRequested, Incoming]]) -> set[UUID]:
        with transaction(self._engine) as connection:
            return known_requests(connection, {event.id for event, _ in wanted})

    def _check_readable(self, batch: Sequence[Incoming], found: Sorted) -> None:
        """What changed something was a valid event: it must not be passed over now."""
        read = {(source.partition, source.offset) for _, source in found.schedules}
        read |= {stop.position for stop in found.stops}
        for source in batch:
            if (source.partition, source.offset) not in read and self._given.status(source) not in {
                None,
                Status.REJECTED,
            }:
                raise _refused_now(source)

    def _check(self, sources: Sequence[Incoming], said: Sequence[Outgoing]) -> None:
        topics = self._settings.topics
        accepted = set()
        for answer in said:
            if answer.topic == topics.status:
                status = decode_status(answer.value or b"").status
                if status is Status.ACCEPTED:
                    accepted.add(source_of(topics.requests, _as_read(answer)))
        for source in sources:
            place = source.partition, source.offset
            if self._given.status(source) is Status.ACCEPTED and place not in accepted:
                raise _refused_now(source)


def _refused_now(source: Incoming) -> RecoverError:
    return RecoverError(
        f"{source.topic} partition {source.partition} offset {source.offset} was accepted, and "
        "would be refused now: run this with the settings and the release that "
        "accepted it (SAEC_GRACE_S, SAEC_HORIZON_DAYS, SAEC_MAX_REQUEST_BYTES)"
    )


def _as_read(answer: Outgoing) -> Incoming:
    return Incoming(answer.topic, 0, 0, 0, answer.key, answer.value, answer.headers)
