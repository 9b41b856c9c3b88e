"""What a request and a cancel are answered, as plain values."""

from uuid import UUID

import pytest

from saec.contracts.events import CancelRequested, Channel, Message, ScheduleRequested
from saec.contracts.status import Status
from saec.errors import Reason
from saec.ingest import decide
from saec.ingest.decide import Limits, Verdict
from saec.kafka.records import Incoming
from saec.store.cancels import CancelRow, Stopped
from saec.store.requests import StoredRequest

ID = UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
APPENDED_MS = 1_800_000_000_000
LIMITS = Limits.of(grace_s=60, horizon_days=730)
HASH, OTHER_HASH = b"a" * 16, b"b" * 16
PAST = Verdict(Status.REJECTED, Reason.DUE_IN_THE_PAST)
CANCEL = CancelRequested(id=ID, requester="billing")


def source(partition: int = 0, offset: int = 10) -> Incoming:
    return Incoming("saec.requests", partition, offset, APPENDED_MS, None, b"")


def stored(partition: int = 0, offset: int = 10, content: bytes = HASH) -> StoredRequest:
    return StoredRequest(ID, "billing", 4, 2, content, partition, offset)


def decided(status: Status) -> CancelRow:
    stopped = (1, 2) if status is Status.CANCELLED else (0, 0)
    return CancelRow(0, 11, ID, status.value, True, *stopped, "billing", APPENDED_MS)


def due(at_ms: int) -> ScheduleRequested:
    return ScheduleRequested(
        id=ID,
        requester="billing",
        channels=(Channel.PUSH,),
        due_at_ms=at_ms,
        message=Message(body=b"", content_type="text/plain"),
    )


@pytest.mark.parametrize(
    ("after_append_ms", "reason"),
    [
        (0, None),
        (-60_000, None),
        (-60_001, Reason.DUE_IN_THE_PAST),
        (730 * 86_400_000, None),
        (730 * 86_400_000 + 1, Reason.DUE_BEYOND_HORIZON),
    ],
)
def test_a_request_is_due_between_the_grace_and_the_horizon(
    after_append_ms: int, reason: Reason | None
) -> None:
    refused = decide.refusal(due(APPENDED_MS + after_append_ms), APPENDED_MS, LIMITS)
    assert (refused and refused.reason) == reason
    assert refused is None or refused.status is Status.REJECTED


def test_without_a_grace_the_append_time_itself_is_the_bound() -> None:
    limits = Limits.of(grace_s=0, horizon_days=1)
    assert decide.refusal(due(APPENDED_MS), APPENDED_MS, limits) is None
    assert decide.refusal(due(APPENDED_MS - 1), APPENDED_MS, limits) is not None


@pytest.mark.parametrize(
    ("refused", "now_stored", "status", "reason"),
    [
        pytest.param(None, stored(), Status.ACCEPTED, None, id="it is what was stored"),
        pytest.param(PAST, stored(), Status.ACCEPTED, None, id="stored under other limits"),
        pytest.param(None, stored(offset=9), Status.DUPLICATE, None, id="same content"),
        pytest.param(None, stored(partition=1), Status.DUPLICATE, None, id="by another partition"),
        pytest.param(
            None, stored(1, 10, OTHER_HASH), Status.REJECTED, Reason.ID_TAKEN, id="other content"
        ),
        pytest.param(PAST, None, Status.REJECTED, Reason.DUE_IN_THE_PAST, id="nothing stored"),
        pytest.param(
            PAST, stored(offset=11), Status.REJECTED, Reason.DUE_IN_THE_PAST, id="stored later"
        ),
        pytest.param(PAST, stored(offset=9), Status.DUPLICATE, None, id="repeated when past due"),
        pytest.param(
            PAST,
            stored(0, 9, OTHER_HASH),
            Status.REJECTED,
            Reason.ID_TAKEN,
            id="past due and the id is taken",
        ),
    ],
)
def test_a_request_is_answered_from_what_is_stored(
    refused: Verdict | None,
    now_stored: StoredRequest | None,
    status: Status,
    reason: Reason | None,
) -> None:
    verdict = decide.schedule(source(), HASH, refused, now_stored)
    assert (verdict.status, verdict.reason) == (status, reason)


def test_an_acceptable_request_that_is_not_there_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="was not stored"):
        decide.schedule(source(), HASH, None, None)


SOME = Stopped(recipients=1, messages=2)


@pytest.mark.parametrize(
    ("now_stored", "before", "stopped", "status", "decides"),
    [
        pytest.param(None, None, Stopped(), Status.UNKNOWN_REQUEST, False, id="no such request"),
        pytest.param(
            stored(offset=11), None, Stopped(), Status.UNKNOWN_REQUEST, False, id="not yet there"
        ),
        pytest.param(stored(offset=9), None, SOME, Status.CANCELLED, True, id="stopped"),
        pytest.param(
            stored(partition=1, offset=99), None, SOME, Status.CANCELLED, True, id="incomparable"
        ),
        pytest.param(stored(offset=9), None, Stopped(), Status.TOO_LATE, True, id="nothing left"),
        pytest.param(
            stored(offset=9),
            decided(Status.CANCELLED),
            Stopped(),
            Status.ALREADY_CANCELLED,
            False,
            id="again",
        ),
        pytest.param(
            stored(offset=9),
            decided(Status.TOO_LATE),
            Stopped(),
            Status.TOO_LATE,
            False,
            id="too late again",
        ),
    ],
)
def test_a_cancel_is_answered_from_what_is_stored(
    now_stored: StoredRequest | None,
    before: CancelRow | None,
    stopped: Stopped,
    status: Status,
    decides: bool,  # noqa: FBT001
) -> None:
    row = decide.cancel(source(), CANCEL, now_stored, before, stopped)
    assert (row.status, row.decides) == (status, decides)
    counted = SOME if status is Status.CANCELLED else Stopped()
    assert (row.recipients_stopped, row.messages_stopped) == (counted.recipients, counted.messages)
    assert (row.source_partition, row.source_offset, row.request_id) == (0, 10, ID)
    assert decide.decides(source(), CANCEL, now_stored, before) == decides


@pytest.mark.parametrize("before", [None, decided(Status.CANCELLED), decided(Status.TOO_LATE)])
def test_the_cancel_of_another_requester_stops_nothing_and_learns_nothing(
    before: CancelRow | None,
) -> None:
    strange = CancelRequested(id=ID, requester="marketing")
    assert not decide.decides(source(), strange, stored(offset=9), before)
    row = decide.cancel(source(), strange, stored(offset=9), before, SOME)
    assert (row.status, row.decides, row.messages_stopped) == (Status.REJECTED, False, 0)
