"""Cancels on the real database: what they stop, and that no answer is ever taken back."""

from collections.abc import Callable
from typing import Any

import pytest

from saec.contracts.status import RequestStatus, Status
from saec.errors import Reason
from tests.ingest.kit import APPENDED_MS, HOUR_MS, ID, OTHER_ID, Ingest, cancel, schedule

THREE: dict[str, Any] = {"customers": ["a", "b", "c"]}


def counts(stopped: int, left: int) -> dict[str, int]:
    """The counts of a cancel of recipients with two channels each."""
    return {
        "recipients_stopped": stopped,
        "recipients_left": left,
        "messages_stopped": 2 * stopped,
        "messages_left": 2 * left,
    }


def only(statuses: list[RequestStatus]) -> RequestStatus:
    (status,) = statuses
    return status


def test_a_cancel_in_time_stops_everything(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule(**THREE)), ingest.record(schedule(OTHER_ID)))
    answer = only(ingest.answer(ingest.record(cancel())))
    assert (answer.status, answer.counts) == (Status.CANCELLED, counts(3, 0))
    assert answer.request_id == str(ID)
    assert ingest.pending_slices() == []
    assert ingest.pending_slices(OTHER_ID) == [0]


def test_what_a_claim_names_is_too_late(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    ingest.claim()
    answer = only(ingest.answer(ingest.record(cancel())))
    assert (answer.status, answer.counts) == (Status.TOO_LATE, counts(0, 1))
    assert ingest.pending_slices() == [0]


def test_what_is_gone_is_too_late(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    ingest.execute("DELETE FROM pending")
    answer = only(ingest.answer(ingest.record(cancel())))
    assert (answer.status, answer.counts) == (Status.TOO_LATE, counts(0, 1))


def test_a_cancel_stops_what_is_not_on_its_way_yet(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule(**THREE)))
    ingest.claim(slice_no=1)
    answer = only(ingest.answer(ingest.record(cancel())))
    assert (answer.status, answer.counts) == (Status.CANCELLED, counts(2, 1))
    assert ingest.pending_slices() == [1]


def test_a_claim_of_another_shard_does_not_save_a_slice(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    ((shard, seq),) = ingest.sql("SELECT shard, seq FROM pending")
    ingest.execute(
        "INSERT INTO claims VALUES (%(shard)s, 1, ARRAY[%(seq)s]::bigint[])",
        shard=(shard + 1) % ingest.settings.shards,
        seq=seq,
    )
    assert only(ingest.answer(ingest.record(cancel()))).status is Status.CANCELLED


def test_the_first_cancel_decides_and_later_ones_say_so(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule(**THREE)))
    claim = ingest.claim(slice_no=1)
    ingest.take(ingest.record(cancel()))
    ingest.give_up(claim)
    answers = ingest.answer(ingest.record(cancel()), ingest.record(cancel(), partition=1))
    for answer in answers:
        assert (answer.status, answer.counts) == (Status.ALREADY_CANCELLED, counts(2, 1))
    assert ingest.pending_slices() == [1]


def test_too_late_stays_too_late_also_when_the_claim_is_given_up(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    claim = ingest.claim()
    first = ingest.record(cancel())
    ingest.take(first)
    ingest.give_up(claim)
    for again in (ingest.record(cancel()), first, ingest.record(cancel(), partition=1)):
        answer = only(ingest.answer(again))
        assert (answer.status, answer.counts) == (Status.TOO_LATE, counts(0, 1))
    assert ingest.pending_slices() == [0]


@pytest.mark.parametrize(("partition", "after_ms"), [(0, -1), (0, 0), (0, 1), (1, 1)])
def test_a_cancel_of_before_its_request_gets_the_same_answer_when_the_request_has_come_since(
    ingest: Ingest, partition: int, after_ms: int
) -> None:
    """In a partition offsets tell which was first, and not clocks; by another, append times."""
    early = ingest.record(cancel())
    first = ingest.answer(early)
    assert (only(first).status, only(first).counts) == (Status.UNKNOWN_REQUEST, {})
    request = ingest.record(
        schedule(**THREE), partition=partition, appended_at_ms=APPENDED_MS + after_ms
    )
    assert ingest.late(ingest.take(request)) == {}
    assert ingest.answer(early) == first
    assert ingest.pending_slices() == [0, 1, 2]
    # A cancel that comes now is not bound by what was unknown then.
    answer = only(ingest.answer(early, ingest.record(cancel()))[1:])
    assert (answer.status, answer.counts) == (Status.CANCELLED, counts(3, 0))
    assert ingest.answer(early) == first


@pytest.mark.parametrize("after_ms", [0, 1])
def test_a_cancel_that_is_read_before_its_request_stops_it(ingest: Ingest, after_ms: int) -> None:
    stop = ingest.record(cancel(), partition=1, appended_at_ms=APPENDED_MS + after_ms)
    assert only(ingest.answer(stop)).status is Status.UNKNOWN_REQUEST
    request = ingest.record(schedule(**THREE))
    said = ingest.take(request)
    assert only(ingest.statuses(said)).status is Status.ACCEPTED
    late = ingest.late(said)[1, stop.offset]
    assert (late.status, late.counts) == (Status.CANCELLED, counts(3, 0))
    assert (late.request_id, late.at_ms) == (str(ID), stop.appended_at_ms)
    assert dict(said[1].headers)["ce_id"] == f"{stop.topic}/1/{stop.offset}/late".encode()
    assert said[1].key == said[0].key  # so they keep this order
    assert ingest.pending_slices() == []
    # Whatever comes again says so, and so does a later cancel.
    assert ingest.take(request) == said
    again = only(ingest.answer(stop))
    assert (again.status, again.counts) == (Status.CANCELLED, counts(3, 0))
    later = only(ingest.answer(ingest.record(cancel())))
    assert (later.status, later.counts) == (Status.ALREADY_CANCELLED, counts(3, 0))
    assert ingest.sql("SELECT status, decides, late FROM cancels ORDER BY late") == [
        ("ALREADY_CANCELLED", False, False),
        ("CANCELLED", True, True),
    ]


def test_the_oldest_of_several_is_the_one_that_stops_it(ingest: Ingest) -> None:
    stops = [
        ingest.record(cancel(), partition=1, appended_at_ms=APPENDED_MS + 2),
        ingest.record(cancel(), partition=2, appended_at_ms=APPENDED_MS + 1),
        ingest.record(cancel(), partition=3, appended_at_ms=APPENDED_MS - 1),
        ingest.record(cancel(requester="marketing"), partition=4),
        ingest.record(cancel(OTHER_ID), partition=5),
    ]
    assert {one.status for one in ingest.answer(*stops)} == {Status.UNKNOWN_REQUEST}
    assert list(ingest.late(ingest.take(ingest.record(schedule())))) == [(2, 0)]
    unknown = "SELECT count(*) FROM cancels WHERE status = 'UNKNOWN_REQUEST'"
    assert ingest.sql(unknown) == [(4,)]


def test_a_request_that_one_of_several_stopped_may_come_again_beside_a_new_one(
    ingest: Ingest,
) -> None:
    """The others are unknown for ever: none of them decides a second time."""
    stops = [
        ingest.record(cancel(), partition=number, appended_at_ms=APPENDED_MS + number)
        for number in (1, 2)
    ]
    ingest.take(*stops)
    request = ingest.record(schedule())
    said = ingest.take(request)
    other = ingest.record(schedule(OTHER_ID))
    assert ingest.take(request, other)[: len(said)] == said
    assert ingest.sql("SELECT status FROM cancels ORDER BY source_partition") == [
        ("CANCELLED",),
        ("UNKNOWN_REQUEST",),
    ]


def test_a_request_that_is_not_stored_is_stopped_by_none(ingest: Ingest) -> None:
    """A cancel holds against what its id stands for, not against what was refused under it."""
    ingest.take(ingest.record(cancel(), partition=1))
    refused = ingest.record(schedule(due_at=APPENDED_MS - HOUR_MS))
    assert ingest.late(ingest.take(refused)) == {}
    assert list(ingest.late(ingest.take(ingest.record(schedule())))) == [(1, 0)]
    for twice in (schedule(), schedule(customers=["x"])):
        assert ingest.late(ingest.take(ingest.record(twice))) == {}


def test_the_cancel_of_another_requester_is_refused(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    strange, own = ingest.record(cancel(requester="marketing")), ingest.record(cancel())
    answers = ingest.take(strange)
    status = only(ingest.statuses(answers))
    assert (status.status, status.reason) == (Status.REJECTED, Reason.OTHER_REQUESTER)
    assert status.counts == {}
    (copy,) = [one for one in answers if one.topic == ingest.settings.topics.rejected]
    assert copy.value == strange.value
    assert ("saec-reason", b"other_requester") in copy.headers
    assert ingest.pending_slices() == [0]
    # Nor does it stand in the way of the requester's own, in the same batch.
    assert [a.status for a in ingest.answer(strange, own)] == [Status.REJECTED, Status.CANCELLED]
    assert ingest.answer(strange) == [status]


def test_a_batch_is_taken_in_its_order(ingest: Ingest) -> None:
    batch = [
        ingest.record(cancel()),
        ingest.record(schedule()),
        ingest.record(cancel()),
        ingest.record(schedule()),
        ingest.record(cancel()),
    ]
    answers = ingest.answer(*batch)
    assert [answer.status for answer in answers] == [
        Status.UNKNOWN_REQUEST,
        Status.ACCEPTED,
        Status.CANCELLED,
        Status.DUPLICATE,
        Status.ALREADY_CANCELLED,
    ]
    assert ingest.pending_slices() == []
    assert ingest.answer(*batch) == answers


def test_a_second_copy_behind_a_cancel_that_was_read_first_is_a_new_request(
    ingest: Ingest,
) -> None:
    first = ingest.record(schedule())
    stop = ingest.record(cancel(), partition=1, appended_at_ms=APPENDED_MS + 1)
    second = ingest.record(schedule(), partition=2, appended_at_ms=APPENDED_MS + 2)
    told = [only(ingest.answer(record)).status for record in (stop, second, first)]
    assert told == [Status.UNKNOWN_REQUEST, Status.ACCEPTED, Status.DUPLICATE]
    assert ingest.pending_slices() != []


def test_push_counts_as_one_recipient(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(slice_recipients=10)
    ingest.take(ingest.record(schedule(channels=["SMS", "PUSH"], **THREE)))
    ingest.claim(slice_no=1)
    answer = only(ingest.answer(ingest.record(cancel())))
    assert answer.status is Status.CANCELLED
    assert answer.counts == {
        "recipients_stopped": 3,
        "recipients_left": 1,
        "messages_stopped": 3,
        "messages_left": 1,
    }
