"""Takes a batch of the requests topic into the store, and says what became of each record.

Invariant: when `take` returns, everything it answers is committed in PostgreSQL, with the
positions behind the batch; taking the same batch again gives the same rows and answers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from saec.contracts import headers
from saec.contracts.decode import decode_request
from saec.contracts.dispatch import encode_message
from saec.contracts.events import CancelRequested, ScheduleRequested, channels_to_bits
from saec.contracts.rejected import RejectedError
from saec.contracts.status import Status
from saec.errors import LostRecordsError
from saec.ingest import answers, decide
from saec.ingest.cancels import Cancelling, Decision, cancel_answers, decide_cancels
from saec.ingest.decide import Limits, Verdict
from saec.ingest.positions import StoredPositions
from saec.ingest.slices import cut
from saec.ingest.unfit import refuse_lost, refuse_unstamped
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store import cancels, requests
from saec.store.cancels import CancelRow
from saec.store.engine import BRIEF, Connection, Engine
from saec.store.positions import save_positions
from saec.store.requests import RequestRow, SliceRow, StoredRequest

_TRANSACTION_BYTES = 32 * 1024 * 1024
_ACCEPTED = Verdict(Status.ACCEPTED)


class _Schedule(NamedTuple):
    """A valid request of a batch. `refused` is why it could not be accepted under a new id."""

    source: Incoming
    event: ScheduleRequested
    slices: Sequence[SliceRow]
    recipients: int
    messages: int
    content_hash: bytes
    refused: Verdict | None


class _Verdict(NamedTuple):
    """The verdict on a request, and the cancel that had been read before it and holds."""

    verdict: Verdict
    late: CancelRow | None


class _Refused(NamedTuple):
    """A record that is no valid event."""

    source: Incoming
    error: RejectedError


_Decoded = _Schedule | Cancelling | _Refused


class _Before(NamedTuple):
    """What was stored before it was refused: requests, with the cancel that held; and cancels."""

    requests: Sequence[tuple[Incoming, StoredRequest, CancelRow | None]] = ()
    stops: Sequence[Cancelling] = ()

    @property
    def places(self) -> set[tuple[int, int]]:
        """Where their records stand."""
        sources = [source for source, *_ in self.requests] + [one.source for one in self.stops]
        return {_place(source) for source in sources}


class RequestIntake:
    """Ingest of the requests topic."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        shard_count: int,
        positions: StoredPositions | None = None,
    ) -> None:
        self._settings = settings
        self._topics = settings.topics
        self._positions = positions or StoredPositions(engine, settings.topics.requests)
        self._shards = shard_count
        self._limits = Limits.of(settings.grace_s, settings.horizon_days)

    def take(self, batch: Sequence[Incoming], next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Decode and store a batch: see `decode` and `store`."""
        return self.store(self.decode(batch), next_offsets)

    def decode(self, batch: Sequence[Incoming]) -> list[_Decoded]:
        """What each record says. Pure; may run in another thread."""
        return [self._decode(source) for source in batch]

    def store(self, records: Sequence[_Decoded], next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Store a batch; returns the answers to it.

        Raises:
            StoreUnavailableError, StoreConflictError: unknown whether it was stored; take it again.
            StoreChangedError: the database is not the one that the batch began with.
            LostRecordsError: the topic lost records, and has others in their place.
        """
        schedules = [record for record in records if isinstance(record, _Schedule)]
        stops = [record for record in records if isinstance(record, Cancelling)]
        refused = [record for record in records if isinstance(record, _Refused)]
        before = self._stored_before(refused, next_offsets) if refused else _Before()
        stops += before.stops
        places = before.places
        verdicts: list[_Verdict] = []
        parts = _by_size(schedules)
        for part in parts:
            with self._positions.transaction(next_offsets) as connection:
                self._refuse_lost(connection, part)
                verdicts += self._store(connection, part)
                if part is parts[-1] and not stops:
                    self._save(connection, next_offsets)
        decisions: list[Decision] = []
        if stops:
            # Apart from the COPY above: the locks that dispatch waits for are held briefly, and for
            # 5 s where this process freezes.
            with self._positions.transaction(next_offsets, BRIEF) as connection:
                self._refuse_lost(connection, stops)
                decisions = decide_cancels(connection, stops, self._shards)
                self._save(connection, next_offsets)
        return [
            *self._schedule_answers(schedules, verdicts),
            *cancel_answers(self._settings, decisions),
            *self._accepted_before(before),
            *self._refusals(one for one in refused if _place(one.source) not in places),
        ]

    def _stored_before(
        self, refused: Sequence[_Refused], next_offsets: Mapping[int, int]
    ) -> "_Before":
        """What is refused today, and was stored when other settings held: that answer stands."""
        sources = {_place(one.source): one.source for one in refused}
        came = [(*place, source.appended_at_ms) for place, source in sources.items()]
        with self._positions.transaction(next_offsets) as connection:
            stored = requests.read_sources(connection, came)
            stopped = cancels.read_sources(connection, sources)
            late = cancels.read_late(connection, [one.request_id for one in stored.values()])
        return _Before(
            [(sources[place], one, late.get(one.request_id)) for place, one in stored.items()],
            [
                _cancelling(sources[place], row)
                for place, row in stopped.items()
                if row.appended_at_ms == sources[place].appended_at_ms
            ],
        )

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        """See that what was stored up to these offsets still stands: see `StoredPositions`."""
        self._positions.confirm(next_offsets)

    def _refuse_lost(
        self, connection: Connection, records: Sequence[_Schedule | Cancelling]
    ) -> None:
        """Refuse what stands where something else was taken: the topic was cut, and grew again."""
        passed = [
            one
            for one in records
            if self._positions.is_passed(one.source.partition, one.source.offset)
        ]
        if not passed:
            return
        held = cancels.held_by_others(connection, _places(passed))
        acceptable = [one for one in passed if isinstance(one, _Schedule) and one.refused is None]
        stored = requests.read_requests(connection, {one.event.id for one in acceptable})
        # Were they accepted when they were passed, they would be there.
        if new := [one for one in acceptable if one.event.id not in stored]:
            held += requests.held_by_others(connection, _places(new))
        if held:
            partition, offset = min(held)
            raise LostRecordsError(
                f"{self._topics.requests} lost records: at offset {offset} of partition "
                f"{partition} stands another record than the one that was taken from there; see "
                "docs/operations.md, Lost records"
            )

    def _save(self, connection: Connection, next_offsets: Mapping[int, int]) -> None:
        self._positions.moved(save_positions(connection, self._topics.requests, next_offsets))

    def _decode(self, source: Incoming) -> _Decoded:
        try:
            refuse_lost(source)
            event = decode_request(source.value, source.headers, self._settings.max_request_bytes)
            refuse_unstamped(source, request_id=event.id)
            if isinstance(event, CancelRequested):
                return Cancelling(source, event)
            return self._schedule(source, event)
        except RejectedError as error:
            return _Refused(source, error)

    def _schedule(self, source: Incoming, event: ScheduleRequested) -> _Schedule:
        slices = cut(
            event,
            shards=self._shards,
            most_recipients=self._settings.slice_recipients,
            traceparent=headers.traceparent(source.headers),
        )
        return _Schedule(
            source,
            event,
            slices,
            sum([row.recipients for row in slices]),
            sum([row.messages for row in slices]),
            content_hash(event, slices[0].message),
            decide.refusal(event, source.appended_at_ms, self._limits),
        )

    def _store(self, connection: Connection, schedules: Sequence[_Schedule]) -> list[_Verdict]:
        """Store the requests whose id is new; the verdict on each of `schedules`."""
        first: dict[UUID, _Schedule] = {}
        for one in schedules:
            if one.refused is None:
                first.setdefault(one.event.id, one)
        known = requests.insert_requests(connection, [_row(one) for one in first.values()])
        new = [one for one in first.values() if one.event.id not in known]
        requests.insert_slices(connection, (row for one in new for row in one.slices))
        late = cancels.hold_unknown(connection, [one.event.id for one in new]) if new else {}
        if late:
            cancels.stop_slices(connection, late)
        accepted = {id(one) for one in new}
        open_ = {one.event.id for one in schedules if id(one) not in accepted}
        stored = requests.read_requests(connection, open_)
        late |= cancels.read_late(connection, stored) if stored else {}
        return [
            _Verdict(
                _ACCEPTED
                if id(one) in accepted
                else decide.schedule(
                    one.source, one.content_hash, one.refused, stored.get(one.event.id)
                ),
                late.get(one.event.id),
            )
            for one in schedules
        ]

    def _schedule_answers(
        self, schedules: Sequence[_Schedule], verdicts: Sequence[_Verdict]
    ) -> Iterable[Outgoing]:
        for one, (verdict, late) in zip(schedules, verdicts, strict=True):
            accepted = verdict.status in {Status.ACCEPTED, Status.DUPLICATE}
            counts = _counts(one) if accepted else {}
            yield answers.request_status(self._topics, one.source, one.event.id, verdict, counts)
            if late is not None and verdict.status is Status.ACCEPTED:
                yield answers.late_status(self._topics, one.source, late)
            if not accepted:
                yield answers.rejected_copy(self._settings, one.source, verdict, keep=True)

    def _accepted_before(self, before: "_Before") -> Iterable[Outgoing]:
        for source, stored, late in before.requests:
            counts = {"recipients": stored.recipients, "messages": stored.messages}
            id_ = stored.request_id
            yield answers.request_status(self._topics, source, id_, _ACCEPTED, counts)
            if late is not None:
                yield answers.late_status(self._topics, source, late)

    def _refusals(self, refused: Iterable[_Refused]) -> Iterable[Outgoing]:
        for one in refused:
            verdict = answers.verdict_of(one.error)
            yield answers.request_status(self._topics, one.source, one.error.request_id, verdict)
            yield answers.rejected_copy(self._settings, one.source, verdict, keep=True)


def _places(records: Iterable[_Schedule | Cancelling]) -> list[tuple[int, int, UUID]]:
    return [(one.source.partition, one.source.offset, one.event.id) for one in records]


def _by_size(schedules: Sequence[_Schedule]) -> list[list[_Schedule]]:
    """The schedules in parts that one short transaction can store; at least one part."""
    parts: list[list[_Schedule]] = [[]]
    room = _TRANSACTION_BYTES
    for one in schedules:
        size = sum(len(row.message) for row in one.slices)
        if size > room and parts[-1]:
            parts.append([])
            room = _TRANSACTION_BYTES
        parts[-1].append(one)
        room -= size
    return parts


def _place(source: Incoming) -> tuple[int, int]:
    return source.partition, source.offset


def _cancelling(source: Incoming, row: CancelRow) -> Cancelling:
    return Cancelling(source, CancelRequested(id=row.request_id, requester=row.requester))


def _row(one: _Schedule) -> RequestRow:
    event = one.event
    return RequestRow(
        event.id,
        event.requester,
        event.campaign_id,
        channels_to_bits(event.channels),
        event.lane.rank,
        event.due_at_ms,
        event.expires_at_ms,
        one.recipients,
        one.messages,
        len(one.slices),
        one.content_hash,
        one.source.partition,
        one.source.offset,
        one.source.appended_at_ms,
    )


def _counts(one: _Schedule) -> dict[str, int]:
    return {"recipients": one.recipients, "messages": one.messages}


def content_hash(event: ScheduleRequested, message: bytes) -> bytes:
    """The same for the same content, in whatever encoding it came; `message` is it encoded."""
    attributes = event.message.attributes
    if list(attributes) != (names := sorted(attributes)):
        ordered = {name: attributes[name] for name in names}
        message = encode_message(event.message.model_copy(update={"attributes": ordered}))
    head = (
        event.requester,
        event.campaign_id,
        channels_to_bits(event.channels),
        event.customers,
        event.due_at_ms,
        event.expires_at_ms,
        event.lane.rank,
    )
    return hash_of(head, message)


def hash_of(head: tuple[object, ...], message: bytes) -> bytes:
    """The hash of a content: its parts but the message, and that with its attributes in order.

    JSON in ASCII: unlike `repr` the same under every Python, whatever Unicode it knows.
    """
    digest = blake2b(json.dumps(head, separators=(",", ":")).encode(), digest_size=16)
    digest.update(message)
    return digest.digest()
