"""Collects the events of one request, part by part.

Invariant: what PostgreSQL knows is told even where Kafka no longer keeps it, with a remark that
says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from saec.contracts.status import Status, late_id
from saec.history.answers import Answers, Hunt
from saec.history.batches import Batch, Batches, find_batches
from saec.history.events import (
    Answered,
    Asked,
    CancelAsked,
    Dispatched,
    Event,
    Pending,
    Place,
    Remark,
    Skipped,
    Why,
)
from saec.history.messages import Messages, Wanted, find_messages
from saec.history.sources import Source, asked, read_source
from saec.kafka.seek import Seeker
from saec.settings import Settings
from saec.store.cancels import CancelRow
from saec.store.history import Account, Trail


@dataclass
class Teller:
    """Tells one story; each part that is found leads to the next."""

    settings: Settings
    seeker: Seeker
    answers: Answers
    _sources: dict[Place, Source | None] = field(default_factory=dict)

    def tell(self, trail: Trail | None, since_ms: int | None) -> list[Event]:
        """Every event, in any order."""
        hunt = Hunt(self.seeker, self.answers)
        if since_ms is not None:
            hunt.since(since_ms)
        events = [] if trail is None else [*self._stored(trail, hunt)]
        events += self._further()
        return [*events, *self.answers.found.values()]

    def _stored(self, trail: Trail, hunt: Hunt) -> Iterator[Event]:
        account, place = trail.account, self._place(*trail.source)
        source = self._source(place)
        yield _request(account, place)
        yield from _record_remarks(source, place, account.accepted_at_ms)
        accepted = Answered(account.accepted_at_ms, None, Status.ACCEPTED, place)
        yield from self._answer(hunt, accepted)
        for row in trail.cancels:
            yield from self._cancel(hunt, row)
        batches = find_batches(self.seeker, self.settings.topics.ledger, trail)
        yield from batches.remarks
        yield from self._dispatched(trail, batches, None if source is None else source.customers)
        hunt.of_batches(batches.found)
        yield from self._unanswered(hunt, batches.found)
        yield from _rest(trail, batches)

    def _cancel(self, hunt: Hunt, row: CancelRow) -> Iterator[Event]:
        place = self._place(row.source_partition, row.source_offset)
        source = self._source(place)
        if source is not None and isinstance(told := asked(source), CancelAsked):
            yield told
        else:
            yield CancelAsked(None, place)
        at_ms = None if source is None or source.is_other else source.appended_at_ms
        yield from _record_remarks(source, place, at_ms)
        counts = {
            "recipients_stopped": row.recipients_stopped,
            "messages_stopped": row.messages_stopped,
        }
        stored = Answered(at_ms, None, Status(row.status), place, counts=counts)
        if row.late and at_ms is not None:
            hunt.of_record(place, at_ms)  # what it was answered first, only saec.status tells
        yield from self._answer(hunt, stored, late=row.late)

    def _answer(self, hunt: Hunt, stored: Answered, *, late: bool = False) -> Iterator[Event]:
        """Find an answer that PostgreSQL knows of; tell what it knows where that is not there."""
        wanted, at_ms = stored.about, stored.at_ms
        if wanted is not None and at_ms is not None:
            hunt.of_record(wanted, at_ms, late=late)
        if wanted is not None and (late_id(*wanted) if late else str(wanted)) in self.answers.named:
            return
        yield stored
        yield self._missing(str(wanted), f"the answer to {wanted}", at_ms)

    def _unanswered(self, hunt: Hunt, batches: Iterable[Batch]) -> Iterator[Event]:
        for batch in batches:
            for slice_no in hunt.missing(batch):
                what = f"the status of what was skipped in slice {slice_no}"
                yield self._missing(str(batch.place), what, batch.dispatched_at_ms)

    def _missing(self, wanted: str, what: str, at_ms: int | None) -> Remark:
        if at_ms is None or wanted in self.answers.cut:
            return Remark(at_ms, Why.NO_LONGER_KEPT, f"{what} is no longer kept")
        if wanted in self.answers.given_up:
            what = f"{what} is not among the records of saec.status that follow it"
            return Remark(at_ms, Why.NOT_READ_FURTHER, what)
        return Remark(at_ms, Why.CONTRADICTION, f"{what} is not in {self.answers.topic}")

    def _dispatched(
        self, trail: Trail, batches: Batches, customers: tuple[str, ...] | None
    ) -> Iterator[Event]:
        channels = trail.account.channels
        topics = {channel: self.settings.topics.dispatch[channel] for channel in channels}
        messages = find_messages(
            self.seeker,
            Wanted(trail.account.request_id, topics, customers),
            batches.found,
            # What is pending may have left since, in a batch that was not looked for.
            all_known=not (batches.remarks or trail.waiting),
        )
        for batch in batches.found:
            yield _batch(batch, messages)
            for skip in batch.skips:
                yield Skipped(
                    batch.dispatched_at_ms,
                    batch.place,
                    skip.slice_no,
                    skip.channel,
                    skip.reason.value,
                    skip.messages,
                )
        yield from messages.remarks

    def _further(self) -> Iterator[Event]:
        """Records that were answered, and that PostgreSQL does not name: repetitions, refusals."""
        for place in sorted(self.answers.abouts - set(self._sources)):
            if place.topic == self.settings.topics.requests:
                source = self._source(place)
                if source is not None and not source.is_other:
                    yield asked(source)

    def _source(self, place: Place) -> Source | None:
        found = read_source(self.seeker, place, self.answers.request_id)
        self._sources[place] = found
        return found

    def _place(self, partition: int, offset: int) -> Place:
        return Place(self.settings.topics.requests, partition, offset)


def _request(account: Account, place: Place) -> Asked:
    return Asked(
        account.accepted_at_ms,
        place,
        account.requester,
        account.campaign_id,
        account.channels,
        account.recipients,
        account.due_at_ms,
        account.expires_at_ms,
    )


def _record_remarks(source: Source | None, place: Place, at_ms: int | None) -> Iterator[Remark]:
    if source is None:
        yield Remark(at_ms, Why.NO_LONGER_KEPT, f"the record {place} is no longer kept")
    elif source.is_other:
        what = f"{place} holds another record: was the topic recreated?"
        yield Remark(at_ms, Why.CONTRADICTION, what, place)


def _batch(batch: Batch, messages: Messages) -> Dispatched:
    return Dispatched(
        batch.dispatched_at_ms,
        batch.place,
        batch.shard,
        batch.batch_no,
        batch.slices,
        messages.of(batch),
    )


def _rest(trail: Trail, batches: Batches) -> Iterator[Event]:
    """What only PostgreSQL tells: skips whose batch was not found, and slices that are pending."""
    known = batches.slice_nos
    for skip in trail.skips:
        if skip.slice_no not in known:
            yield Skipped(None, None, skip.slice_no, skip.channel, skip.reason, skip.messages)
    for slice_ in trail.waiting:
        if slice_.slice_no not in known:
            yield Pending(
                trail.account.due_at_ms,
                slice_.slice_no,
                slice_.channels,
                slice_.recipients,
                slice_.messages,
                slice_.claimed,
            )
