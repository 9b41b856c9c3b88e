"""Finds the batches of a request in its shard's partition of the ledger.

A batch is never before the request was due or accepted. Invariant: reading begins there, and stops
when every message that is neither pending nor stopped is accounted for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from saec.contracts.ledger import (
    BatchCommitted,
    BatchOpened,
    LedgerRecord,
    SliceDispatched,
    SliceSkip,
    decode_ledger,
)
from saec.contracts.rejected import RejectedError
from saec.history.events import Place, Remark, Why, many
from saec.history.margins import CLOCKS_MS, MOST_RECORDS
from saec.kafka.records import Incoming
from saec.kafka.seek import Partition, Reach, Seeker
from saec.store.history import Trail


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch holds of the request; its records are stamped from `opened_ms` to `closed_ms`.

    `dispatched_at_ms` is PostgreSQL's clock, the other two are the worker's.
    """

    place: Place
    shard: int
    batch_no: int
    dispatched_at_ms: int
    opened_ms: int
    closed_ms: int
    slices: tuple[SliceDispatched, ...]
    skips: tuple[SliceSkip, ...]

    @property
    def sent(self) -> int:
        """Messages that went out."""
        return sum(slice_.messages for slice_ in self.slices)

    @property
    def messages(self) -> int:
        """Messages that went out or were skipped."""
        return self.sent + sum(skip.messages for skip in self.skips)


@dataclass
class Batches:
    """The batches that were found, and what is to be said of those that were not."""

    found: list[Batch] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """Messages accounted for."""
        return sum(batch.messages for batch in self.found)

    @property
    def slice_nos(self) -> set[int]:
        """Slices accounted for."""
        return {slice_.slice_no for batch in self.found for slice_ in batch.slices}


def find_batches(seeker: Seeker, ledger: str, trail: Trail) -> Batches:
    """Every batch of the request.

    Raises:
        BrokerUnavailableError: no answer.
    """
    batches = Batches()
    account = trail.account
    shard = Partition(ledger, trail.shard)
    gone = account.total - account.pending - account.cancelled
    if gone:
        _find_applied(seeker, shard, trail, gone, batches)
    claimed = sum(waiting.messages for waiting in trail.waiting if waiting.claimed)
    if claimed:
        whole = seeker.kept([shard])[shard]
        reach = Reach(max(trail.ledger_offset, whole.oldest), whole.end, whole.oldest)
        _read(seeker, shard, reach, account.request_id, batches, batches.messages + claimed)
    batches.remarks += _doubles(batches.found)
    return batches


def windows(batches: Iterable[Batch], margin_ms: int) -> Iterator[list[Batch]]:
    """The batches, those together whose stretches would overlap."""
    together: list[Batch] = []
    end_ms = 0
    for batch in sorted(batches, key=lambda one: one.opened_ms):
        if together and batch.opened_ms - margin_ms > end_ms:
            yield together
            together = []
        end_ms = max(end_ms, batch.closed_ms + margin_ms)
        together.append(batch)
    if together:
        yield together


def stretch(window: Iterable[Batch], margin_ms: int) -> tuple[int, int]:
    """From which instant up to, and without, which one the records of these batches are stamped."""
    batches = list(window)
    from_ms = min(batch.opened_ms for batch in batches) - margin_ms
    return from_ms, max(batch.closed_ms for batch in batches) + margin_ms + 1


def _find_applied(
    seeker: Seeker, shard: Partition, trail: Trail, gone: int, batches: Batches
) -> None:
    """The batches that are applied: `gone` messages, before the shard's `ledger_offset`."""
    account = trail.account
    from_ms = max(account.due_at_ms, account.accepted_at_ms) - CLOCKS_MS
    found = seeker.between([shard], from_ms)[shard]
    reach = Reach(found.start, min(found.end, trail.ledger_offset), found.oldest)
    read = _read(seeker, shard, reach, account.request_id, batches, gone)
    left = gone - batches.messages
    if left <= 0:
        return
    what = f"{many(left)} dispatched or skipped:"
    where = f"{shard.topic}/{shard.number}"
    if reach.cut:
        what, why = f"{what} that part of {where} is no longer kept", Why.NO_LONGER_KEPT
    elif read >= MOST_RECORDS:
        what += f" not in the {read:,} records of {where} from offset {reach.start} on"
        why = Why.NOT_READ_FURTHER
    else:
        what += f" no batch in {where} from offset {reach.start} up to {reach.end} says so"
        why = Why.CONTRADICTION
    batches.remarks.append(Remark(max(account.due_at_ms, account.accepted_at_ms), why, what))


def _read(
    seeker: Seeker,
    shard: Partition,
    reach: Reach,
    request_id: UUID,
    batches: Batches,
    wanted_messages: int,
) -> int:
    """Add the batches of a stretch until so many messages are there; returns the records read."""
    before = seeker.records_read
    records = islice(seeker.read({shard: reach}), MOST_RECORDS)
    for batch in _batches(records, request_id):
        batches.found.append(batch)
        if batches.messages >= wanted_messages:
            break
    return seeker.records_read - before


def _batches(records: Iterable[Incoming], request_id: UUID) -> Iterator[Batch]:
    earlier: Incoming | None = None
    for record in records:
        # The id stands in the record as it is: most records need not be decoded.
        if request_id.bytes in (record.value or b""):
            committed = _decoded(record)
            if isinstance(committed, BatchCommitted):
                batch = _batch(record, committed, earlier, request_id)
                if batch.slices:
                    yield batch
        earlier = record


def _batch(
    record: Incoming, committed: BatchCommitted, earlier: Incoming | None, request_id: UUID
) -> Batch:
    opened = None if earlier is None else _decoded(earlier)
    is_its_own = isinstance(opened, BatchOpened) and opened.batch_no == committed.batch_no
    closed_ms = record.appended_at_ms
    return Batch(
        Place(record.topic, record.partition, record.offset),
        committed.shard,
        committed.batch_no,
        committed.dispatched_at_ms,
        earlier.appended_at_ms if earlier is not None and is_its_own else closed_ms - CLOCKS_MS,
        closed_ms,
        tuple(slice_ for slice_ in committed.slices if slice_.request_id == request_id),
        tuple(skip for skip in committed.skips if skip.request_id == request_id),
    )


def _decoded(record: Incoming) -> LedgerRecord | None:
    try:
        return decode_ledger(record.value or b"")
    except RejectedError:
        return None


def _doubles(found: Iterable[Batch]) -> Iterator[Remark]:
    first: dict[int, Batch] = {}
    for batch in found:
        for slice_ in batch.slices:
            other = first.setdefault(slice_.slice_no, batch)
            if other is not batch:
                yield Remark(
                    batch.dispatched_at_ms,
                    Why.CONTRADICTION,
                    f"slice {slice_.slice_no} stands in two batches: {other.place} and "
                    f"{batch.place}",
                )
