"""Cancels on the real database: what they stop, and that no answer is ever taken back."""

from collections.abc import Callable
from typing import Any

import pytest

from saec.contracts.status import RequestStatus, Status
from saec.errors import Reason
from tests.ingest.kit import ID, OTHER_ID, Ingest, cancel, schedule

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


@pytest.mark.parametrize("partition", [0, 1])
def test_a_cancel_of_nothing_gets_the_same_answer_when_the_request_has_come_since(
    ingest: Ingest, partition: int
) -> None:
    """By the other partition it cannot be seen from the offsets which of the two was first."""
    early = ingest.record(cancel())
    first = ingest.answer(early)
    assert (only(first).status, only(first).counts) == (Status.UNKNOWN_REQUEST, {})
    ingest.take(ingest.record(schedule(**THREE), partition=partition))
    assert ingest.answer(early) == first
    assert ingest.pending_slices() == [0, 1, 2]
    # A cancel that comes now is not bound by what was unknown then.
    answer = only(ingest.answer(early, ingest.record(cancel()))[1:])
    assert (answer.status, answer.counts) == (Status.CANCELLED, counts(3, 0))
    assert ingest.answer(early) == first


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
