"""A record that comes again gets the answer it got, whatever happened in between.

Records come again after a crash between PostgreSQL and the answers, and by a process that was
stopped for a while and does not know that others took over.
"""

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saec.contracts.status import RequestStatus, Status, decode_status
from saec.errors import StoreUnavailableError
from saec.ingest import requests as module
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming
from tests.ingest.kit import APPENDED_MS, HOUR_MS, ID, OTHER_ID, Ingest, cancel, schedule, source_of

THIRD_ID = UUID("c4b9d7a2-0d0f-4d0e-8f4e-2f6f3a9b7e21")
IDS = (ID, OTHER_ID, THIRD_ID)
EXAMPLES = 60
# The one change: a cancel was read before its request, and stopped it then.
BETTER = (Status.UNKNOWN_REQUEST, Status.CANCELLED)


def mixed_batch(ingest: Ingest) -> list[Incoming]:
    """Some of everything, in an order that matters."""
    return [
        ingest.record(cancel()),
        ingest.record(schedule(customers=["a", "b"])),
        ingest.record(schedule(due_at=0)),
        ingest.record(b"no event"),
        ingest.record(schedule(OTHER_ID, due_at=0)),
        ingest.record(schedule(OTHER_ID), partition=0),
        ingest.record(schedule(customers=["a", "b"])),
        ingest.record(cancel(OTHER_ID, "marketing")),
        ingest.record(cancel()),
        ingest.record(cancel(OTHER_ID), partition=1),
        ingest.record(schedule(customers=["c"])),
        ingest.record(cancel(THIRD_ID)),
        ingest.record(cancel()),
        ingest.record(schedule(THIRD_ID)),
    ]


EXPECTED = [
    Status.UNKNOWN_REQUEST,
    Status.ACCEPTED,
    Status.REJECTED,  # the id is taken
    Status.REJECTED,
    Status.REJECTED,  # due in the past
    Status.ACCEPTED,
    Status.DUPLICATE,
    Status.REJECTED,  # another requester
    Status.CANCELLED,
    Status.REJECTED,  # the id is taken
    Status.UNKNOWN_REQUEST,
    Status.ALREADY_CANCELLED,
    Status.ACCEPTED,
    Status.CANCELLED,  # by partition 1
]


def test_a_batch_that_comes_again_has_the_same_answers_and_rows(ingest: Ingest) -> None:
    batch = mixed_batch(ingest)
    first = ingest.take(*batch)
    assert [status.status for status in ingest.statuses(first)] == EXPECTED
    rows = ingest.stored()
    assert ingest.take(*batch) == first
    assert ingest.stored() == rows


def test_so_has_every_prefix_of_it_and_what_follows(ingest: Ingest) -> None:
    batch = mixed_batch(ingest)
    rows = None
    for taken in range(len(batch) + 1):
        ingest.empty()
        ingest.take(*batch[:taken])
        # Kafka committed nothing of it: all of it comes again, with more.
        assert [status.status for status in ingest.answer(*batch)] == EXPECTED
        assert rows is None or ingest.stored() == rows
        rows = ingest.stored()


def test_a_crash_between_the_two_transactions_changes_no_answer(ingest: Ingest) -> None:
    batch = mixed_batch(ingest)
    undisturbed = ingest.take(*batch)
    rows = ingest.stored()
    for crashing in range(1, len(batch) + 1):
        ingest.empty()
        crash(ingest, batch[:crashing])
        assert ingest.take(*batch) == undisturbed
        assert ingest.stored() == rows


def test_a_crash_saves_no_position_over_what_was_not_decided(ingest: Ingest) -> None:
    topic = ingest.settings.topics.requests
    ingest.take(ingest.record(schedule()))
    crash(ingest, [ingest.record(schedule(OTHER_ID)), ingest.record(cancel())])
    assert ingest.positions(topic) == {0: 1}
    assert ingest.pending_slices(OTHER_ID) == [0]


def test_a_crash_in_the_middle_of_a_transaction_leaves_nothing(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    before, topic = ingest.stored(), ingest.settings.topics.requests
    for batch in ([schedule(OTHER_ID)], [cancel()], [cancel(), cancel()]):
        with (
            patch.object(module, "save_positions", side_effect=StoreUnavailableError("crash")),
            pytest.raises(StoreUnavailableError),
        ):
            ingest.take(*map(ingest.record, batch))
        assert ingest.stored() == before
        assert ingest.positions(topic) == {0: 1}


def test_a_large_batch_is_stored_in_parts_with_the_same_outcome(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = mixed_batch(ingest)
    undisturbed, rows = ingest.take(*batch), ingest.stored()
    topic = ingest.settings.topics.requests
    positions = ingest.positions(topic)
    monkeypatch.setattr(module, "_TRANSACTION_BYTES", 1)
    ingest.empty()
    assert ingest.take(*batch) == undisturbed
    assert ingest.stored() == rows
    assert ingest.positions(topic) == positions


@pytest.mark.parametrize("with_cancels", [True, False])
def test_a_crash_between_its_parts_changes_no_answer_and_saves_no_position(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, *, with_cancels: bool
) -> None:
    batch = [
        record
        for record in mixed_batch(ingest)
        if with_cancels or b"CancelRequested" not in (record.value or b"")
    ]
    undisturbed, rows = ingest.take(*batch), ingest.stored()
    monkeypatch.setattr(module, "_TRANSACTION_BYTES", 1)
    store, scheduled = (
        RequestIntake._store,
        sum(b"ScheduleRequested" in (r.value or b"") for r in batch),
    )
    for crashing in range(scheduled):
        ingest.empty()
        stores = itertools.count()

        def dying(*args: Any) -> Any:
            if next(stores) == crashing:  # noqa: B023
                raise StoreUnavailableError("crash")
            return store(*args)

        with (
            patch.object(RequestIntake, "_store", dying),
            pytest.raises(StoreUnavailableError),
        ):
            ingest.take(*batch)
        assert ingest.positions(ingest.settings.topics.requests) == {}
        assert ingest.take(*batch) == undisturbed
        assert ingest.stored() == rows


def crash(ingest: Ingest, batch: Sequence[Incoming]) -> None:
    """Die after the requests of a batch are stored, before its cancels are decided."""
    with patch.object(module, "decide_cancels", side_effect=StoreUnavailableError("crash")):
        try:
            ingest.take(*batch)
        except StoreUnavailableError:
            return
    # Without a cancel there is nothing between; it died before it could answer.


@dataclass
class History:
    """Partitions that are read with interruptions, and every answer that was ever given."""

    ingest: Ingest
    records: list[list[Incoming]]
    read: list[int] = field(default_factory=lambda: [0, 0])
    answers: dict[tuple[int, int], RequestStatus] = field(default_factory=dict)
    claims: list[tuple[int, int]] = field(default_factory=list)

    def batch(self, chance: random.Random) -> list[Incoming]:
        """The next records of both partitions, from anywhere that was read already."""
        taken = []
        for partition, records in enumerate(self.records):
            start = chance.randint(0, self.read[partition])
            end = min(len(records), self.read[partition] + chance.randint(0, 3))
            taken.append(records[start:end])
        # A partition's records stay in order; which partition comes first is the broker's choice.
        turns = [p for p, some in enumerate(taken) for _ in some]
        chance.shuffle(turns)
        iterators = [iter(some) for some in taken]
        return [next(iterators[partition]) for partition in turns]

    def take(self, batch: Sequence[Incoming]) -> None:
        """Take a batch, and hold its answers against those given before."""
        for answer in self.ingest.take(*batch):
            if answer.topic != self.ingest.settings.topics.status:
                continue
            status = decode_status(answer.value or b"")
            source = source_of(answer)
            before = self.answers.get(source, status)
            assert before == status or (before.status, status.status) == BETTER
            self.answers[source] = status
        for record in batch:
            self.read[record.partition] = max(self.read[record.partition], record.offset + 1)

    def claim_or_give_up(self, chance: random.Random) -> None:
        """What dispatch does meanwhile."""
        if self.claims and chance.random() < 0.5:
            self.ingest.give_up(self.claims.pop(chance.randrange(len(self.claims))))
            return
        free = self.ingest.sql(
            "SELECT request_id::text, slice_no FROM pending p WHERE NOT EXISTS"
            " (SELECT FROM claims c WHERE p.seq = ANY(c.seqs)) ORDER BY request_id, slice_no"
        )
        if free:
            request_id, slice_no = chance.choice(free)
            self.claims.append(self.ingest.claim(UUID(request_id), slice_no))

    def finish(self) -> None:
        """Read what is left, then all of it once more."""
        self.take([record for records in self.records for record in records])
        assert set(self.answers) == {(r.partition, r.offset) for p in self.records for r in p}


def values(chance: random.Random) -> bytes:
    """A record about one of a few requests."""
    request_id = chance.choice(IDS)
    return chance.choice(
        [
            cancel(request_id),
            cancel(request_id, "marketing"),
            schedule(request_id, customers=["a", "b", "c"]),
            schedule(request_id, customers=["a", "b", "c"]),
            schedule(request_id, customers=["b"]),
            schedule(request_id, due_at=APPENDED_MS - HOUR_MS),
            b"no event",
        ]
    )


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_comes_again_in_whatever_order_no_answer_ever_changes(
    make_ingest: Callable[..., Ingest], seed: int
) -> None:
    chance = random.Random(seed)
    ingest = make_ingest(slice_recipients=1)
    records: list[list[Incoming]] = [[], []]
    for _ in range(12):
        value = values(chance)
        # Requests about an id keep to a partition, as with keys; a cancel may come by any.
        home = next((IDS.index(id_) % 2 for id_ in IDS if str(id_).encode() in value), 0)
        partition = chance.randrange(2) if b"CancelRequested" in value else home
        at_ms = APPENDED_MS + chance.randint(0, 3) * len(records[0] + records[1])
        records[partition].append(ingest.record(value, partition=partition, appended_at_ms=at_ms))
    history = History(ingest, records)
    for _ in range(8):
        batch = history.batch(chance)
        step = chance.random()
        if step < 0.25:
            crash(ingest, batch)
        elif step < 0.5:
            history.claim_or_give_up(chance)
        else:
            history.take(batch)
    history.finish()
    adds_up(ingest, history.answers.values())


def adds_up(ingest: Ingest, answers: Collection[RequestStatus]) -> None:
    """Every slice of a stored request is pending, or was stopped by the cancel that says so."""
    for request_id, messages in ingest.sql("SELECT request_id::text, messages FROM requests"):
        ((pending,),) = ingest.sql(
            "SELECT coalesce(sum(messages), 0) FROM pending WHERE request_id = %(id)s::uuid",
            id=request_id,
        )
        stopped = [
            answer.counts["messages_stopped"]
            for answer in answers
            if answer.request_id == request_id and answer.status is Status.CANCELLED
        ]
        assert len(stopped) <= 1
        assert pending + sum(stopped) == messages


def test_the_model_reaches_every_answer(ingest: Ingest) -> None:
    """Else the test above would say little."""
    kinds: set[Status] = set()
    for seed in itertools.count():
        chance = random.Random(seed)
        ingest.empty()
        batch = [ingest.record(values(chance)) for _ in range(12)]
        kinds |= {status.status for status in ingest.answer(*batch)}
        if len(kinds) == 6:
            return
        assert seed < 50
