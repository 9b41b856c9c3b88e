"""Decides cancels, and says what they stopped.

Invariant: the locks of the requests' shards are held from before the first look until the answers
are committed, so that no slice is stopped and dispatched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saec.contracts.events import CancelRequested
from saec.contracts.status import Status
from saec.errors import Reason
from saec.ingest import answers, decide
from saec.ingest.decide import Verdict
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store import cancels, requests, shards
from saec.store.cancels import CancelRow, Stopped
from saec.store.engine import Connection
from saec.store.requests import StoredRequest


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A valid cancel of a batch."""

    source: Incoming
    event: CancelRequested

    @property
    def position(self) -> tuple[int, int]:
        """Partition and offset: what its answer is stored under."""
        return self.source.partition, self.source.offset


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a cancel, its request, and the cancel that decided the request."""

    asked: Cancelling
    answer: CancelRow
    stored: StoredRequest | None
    decided: CancelRow | None


def decide_cancels(
    connection: Connection, stops: Sequence[Cancelling], shard_count: int
) -> list[Decision]:
    """Stop what can be stopped, and store the answers that were not stored before."""
    ids = {one.event.id for one in stops}
    if len(requests.read_requests(connection, ids)) < len(ids):
        # Before the shards: dispatch does not wait for a request that is just being stored.
        cancels.lock_unknown(connection)
    shards.lock_any(connection, {shards.shard_of(id_, shard_count) for id_ in ids})
    stored = requests.read_requests(connection, ids)
    given = cancels.read_answers(connection, ids)
    answered = {(row.source_partition, row.source_offset): row for row in given}
    decided = {row.request_id: row for row in given if row.decides}
    deciding = {
        one.event.id
        for one in stops
        # Unknown when it was answered, with a request by now: that answer stands, nothing stops.
        if one.position not in answered
        and decide.decides(
            one.source, one.event, stored.get(one.event.id), decided.get(one.event.id)
        )
    }
    stopped = cancels.stop_slices(connection, deciding) if deciding else {}
    new = []
    for one in stops:
        if one.position in answered:
            continue
        id_ = one.event.id
        took = stopped.get(id_, Stopped())
        row = decide.cancel(one.source, one.event, stored.get(id_), decided.get(id_), took)
        answered[one.position] = row
        new.append(row)
        if row.decides:
            decided[id_] = row
    cancels.insert_answers(connection, new)
    return [
        Decision(one, answered[one.position], stored.get(one.event.id), decided.get(one.event.id))
        for one in stops
    ]


def cancel_answers(settings: Settings, decisions: Iterable[Decision]) -> Iterable[Outgoing]:
    """The statuses of decided cancels, and copies of those that were refused."""
    for one in decisions:
        source, request_id = one.asked.source, one.asked.event.id
        verdict = Verdict(Status(one.answer.status))
        if verdict.status is Status.REJECTED:
            detail = "requester: not the one who scheduled it"
            verdict = Verdict(Status.REJECTED, Reason.OTHER_REQUESTER, detail)
            yield answers.rejected_copy(settings, source, verdict, keep=True)
        yield answers.request_status(
            settings.topics, source, request_id, verdict, _counts(verdict, one)
        )


def _counts(verdict: Verdict, one: Decision) -> dict[str, int]:
    """What the deciding cancel stopped, and what had left; the same when it is repeated."""
    if one.stored is None or one.decided is None or verdict.status in _WITHOUT_COUNTS:
        return {}
    return {
        "recipients_stopped": one.decided.recipients_stopped,
        "recipients_left": one.stored.recipients - one.decided.recipients_stopped,
        "messages_stopped": one.decided.messages_stopped,
        "messages_left": one.stored.messages - one.decided.messages_stopped,
    }


_WITHOUT_COUNTS = {Status.REJECTED, Status.UNKNOWN_REQUEST}
