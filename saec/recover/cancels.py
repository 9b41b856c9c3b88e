"""Gives cancels the effect that they were answered with.

A cancel stops what no batch had claimed. Which slices those were is lost with the database, but
batches take a request's slices in order, so they were its last ones; how many, the answer says.
Invariant: what was answered as stopped is not pending afterwards, and what was not, is left.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never
from uuid import UUID

from saec.contracts.status import Status
from saec.ingest.cancels import Cancelling, decide_cancels
from saec.recover.errors import RecoverError
from saec.recover.given import Given, Late
from saec.store import cancels, pending, recovery, requests, shards
from saec.store.cancels import CancelRow, Stopped
from saec.store.engine import Connection
from saec.store.recovery import SliceSize


@dataclass
class Restored:
    """How many were given their effect again, how many were decided anew, and what contradicts."""

    as_answered: int = 0
    anew: int = 0
    contradictions: dict[int, str] = field(default_factory=dict)


def restore_cancels(
    connection: Connection, stops: Sequence[Cancelling], given: Given, shard_count: int
) -> Restored:
    """Store the answers of these cancels again, and delete the slices that they stopped."""
    known = [one for one in stops if given.status(one.source) is not None]
    unknown = [one for one in stops if given.status(one.source) is None]
    ids = {one.event.id for one in stops}
    shards.lock_any(connection, {shards.shard_of(id_, shard_count) for id_ in ids})
    restored = _as_answered(connection, known, given, shard_count)
    if unknown:
        decide_cancels(connection, unknown, shard_count)
    restored.anew = len(unknown)
    return restored


def _as_answered(
    connection: Connection, stops: Sequence[Cancelling], given: Given, shard_count: int
) -> Restored:
    stored = cancels.read_answers(connection, {one.event.id for one in stops})
    places = {(row.source_partition, row.source_offset) for row in stored}
    decided = {row.request_id for row in stored if row.decides}
    new: list[CancelRow] = []
    for one in stops:
        if one.position in places:
            continue  # of an earlier run, or older than the backup
        row = _row(one, given, decided)
        new.append(row)
        if row.decides:
            decided.add(row.request_id)
    restored = _insert(connection, new, shard_count)
    restored.as_answered = len(stops)
    return restored


def restore_late(connection: Connection, given: Given, shard_count: int) -> Restored:
    """Store those that stopped a request as it was stored, and whose records are not at hand.

    They are not answered yet, or retention deleted them; their requests were answered.
    """
    ids = {late.request_id for late in given.late.values()}
    shards.lock_any(connection, {shards.shard_of(id_, shard_count) for id_ in ids})
    stored = requests.read_requests(connection, ids)
    known = cancels.read_answers(connection, ids)
    places = {(row.source_partition, row.source_offset) for row in known}
    decided = {row.request_id for row in known if row.decides}
    new = [
        _late_row(place, late, stored[late.request_id].requester)
        for place, late in given.late.items()
        if place not in places and late.request_id in stored.keys() - decided
    ]
    restored = _insert(connection, new, shard_count)
    restored.as_answered = len(new)
    return restored


def _late_row(place: tuple[int, int], late: Late, requester: str) -> CancelRow:
    stop = late.stopped
    return CancelRow(
        *place,
        late.request_id,
        Status.CANCELLED.value,
        True,
        stop.recipients,
        stop.messages,
        requester,
        late.appended_at_ms,
        True,
    )


def _insert(connection: Connection, new: Sequence[CancelRow], shard_count: int) -> Restored:
    restored = Restored()
    stopped = {
        row.request_id: Stopped(row.recipients_stopped, row.messages_stopped)
        for row in new
        if row.messages_stopped
    }
    for id_ in _stop(connection, stopped):
        why = f"a cancel of {id_} stopped what was dispatched: the ledger or the statuses are wrong"
        restored.contradictions[shards.shard_of(id_, shard_count)] = why
    cancels.insert_answers(connection, new)
    return restored


def _row(one: Cancelling, given: Given, decided: set[UUID]) -> CancelRow:
    """The row of an answer that was given. Only one decides; there it is the first of its kind."""
    status, id_ = given.status(one.source), one.event.id
    partition, offset = one.position
    stop = given.stopped(one.source)
    asked = one.event.requester, one.source.appended_at_ms
    match status:
        case Status.CANCELLED:
            stopped = stop.recipients, stop.messages
            return CancelRow(
                partition,
                offset,
                id_,
                status.value,
                True,
                *stopped,
                *asked,
                given.is_late(one.source),
            )
        case Status.TOO_LATE:
            return CancelRow(partition, offset, id_, status.value, id_ not in decided, 0, 0, *asked)
        case Status.ALREADY_CANCELLED | Status.UNKNOWN_REQUEST | Status.REJECTED:
            return CancelRow(partition, offset, id_, status.value, False, 0, 0, *asked)
        case (
            None
            | Status.ACCEPTED
            | Status.DUPLICATE
            | Status.SKIPPED
            | Status.EXPIRED
            | Status.SENT
        ):
            raise RecoverError(
                f"the cancel at partition {partition} offset {offset} was answered {status}: "
                "saec.status holds an answer that SAEC does not give"
            )
        case _:
            assert_never(status)


def _stop(connection: Connection, stopped: dict[UUID, Stopped]) -> list[UUID]:
    """Delete the last slices of each request, as many as make up what was stopped of it.

    Returns the requests of which that is not possible; nothing more of them is deleted.
    """
    sizes = recovery.slice_sizes(connection, stopped)
    contradictory, gone = [], list[tuple[UUID, int]]()
    for id_, stop in stopped.items():
        last = _last(sizes.get(id_, []), stop.messages)
        if last is None:
            contradictory.append(id_)
        else:
            gone += [(id_, number) for number in last]
    pending.delete_slices(connection, gone)
    return contradictory


def _last(slices: Iterable[SliceSize], messages: int) -> list[int] | None:
    """The numbers of the last slices that hold exactly so many messages; None: there are none."""
    numbers = []
    for slice_ in sorted(slices, key=lambda one: one.slice_no, reverse=True):
        if messages <= 0:
            break
        messages -= slice_.messages
        numbers.append(slice_.slice_no)
    return numbers if messages == 0 else None
