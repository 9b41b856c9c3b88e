"""The verdict of a survival run finds each kind of fault; else its "ok" would say nothing."""

from dataclasses import replace
from uuid import UUID

import pytest

from saec.contracts.dispatch import DispatchMessage
from saec.contracts.events import Channel, Message
from saec.contracts.status import RequestStatus, Status
from tests.survival.verdict import Verdict, judge
from tests.survival.workload import Customer, Request

DUE_MS = 1_800_000_000_000
ANA = Customer("c1", frozenset())
BIA = Customer("c2", frozenset({"SMS"}))
PLAIN = Request(
    "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10",
    (ANA, BIA),
    ("EMAIL", "SMS", "PUSH"),
    DUE_MS,
    "Olá",
    None,
)
STOPPED = replace(PLAIN, id="0b5b2a8e-6a0e-4b47-9d6c-0f2a7a1f3c11", cancel_at_ms=DUE_MS - 1)
# EMAIL to both, SMS to Ana, PUSH to everyone; Bia's SMS is skipped.
SENT, ALL = 4, 5

Sent = tuple[DispatchMessage, int]


def sent(request: Request, count: int = SENT) -> list[Sent]:
    """The first messages of a request, a moment after they were due."""
    return [_message(request, who, channel) for _, who, channel in list(request.messages())[:count]]


def _message(request: Request, who: str, channel: str) -> Sent:
    return (
        DispatchMessage(
            message_id="",
            customer_id=who or None,
            channel=Channel(channel),
            address="somewhere" if who else None,
            dispatched_at_ms=DUE_MS + 5,
            request_id=UUID(request.id),
            campaign_id=None,
            requester="survival",
            due_at_ms=DUE_MS,
            expires_at_ms=None,
            message=Message(body=request.body.encode(), content_type="text/plain"),
        ),
        DUE_MS + 7,
    )


def said(
    request: Request, status: Status, left: int | None = None, stopped: int | None = None
) -> RequestStatus:
    """A status; of a cancel that says how many messages left, and stopped the rest."""
    counts: dict[str, int] = {}
    if left is not None:
        counts = {"messages_left": left, "messages_stopped": ALL - left}
    if stopped is not None:
        counts["messages_stopped"] = stopped
    return RequestStatus(request.id, status, DUE_MS, counts=counts)


ACCEPTED = [said(PLAIN, Status.ACCEPTED)]


def cancelled(status: Status, left: int | None = None) -> list[RequestStatus]:
    return [said(STOPPED, Status.ACCEPTED), said(STOPPED, status, left)]


def found(verdict: Verdict) -> dict[str, int]:
    """The kinds of findings, and how many of each."""
    kinds = (
        *("missing", "duplicate", "unexpected", "early", "altered"),
        *("unanswered", "answered_twice", "false_answers"),
    )
    counted = {kind: getattr(verdict, kind) for kind in kinds if getattr(verdict, kind)}
    assert verdict.ok == (not counted)
    assert bool(verdict.findings) == bool(counted)
    return counted


def changed(one: Sent, **fields: object) -> Sent:
    return replace(one[0], **fields), one[1]  # type: ignore[arg-type]


MESSAGES = sent(PLAIN)
OTHER_BODY = Message(body=b"Ola", content_type="text/plain")


@pytest.mark.parametrize(
    ("messages", "statuses", "findings"),
    [
        pytest.param(MESSAGES, ACCEPTED, {}, id="nothing"),
        pytest.param(MESSAGES[1:], ACCEPTED, {"missing": 1}, id="one missing"),
        pytest.param([], ACCEPTED, {"missing": SENT}, id="all missing"),
        pytest.param([*MESSAGES, MESSAGES[2]], ACCEPTED, {"duplicate": 1}, id="duplicate"),
        pytest.param(
            [*MESSAGES, MESSAGES[0], MESSAGES[0]], ACCEPTED, {"duplicate": 2}, id="three times"
        ),
        pytest.param(
            [*MESSAGES[1:], MESSAGES[1]],
            ACCEPTED,
            {"missing": 1, "duplicate": 1},
            id="as many as expected, but not the same",
        ),
        pytest.param(
            [*MESSAGES, _message(PLAIN, "c2", "SMS")], ACCEPTED, {"unexpected": 1}, id="opted out"
        ),
        pytest.param([*MESSAGES, *sent(STOPPED, 1)], ACCEPTED, {"unexpected": 1}, id="never asked"),
        pytest.param(
            [changed(MESSAGES[0], dispatched_at_ms=DUE_MS - 1), *MESSAGES[1:]],
            ACCEPTED,
            {"early": 1},
            id="early by the database's clock",
        ),
        pytest.param(
            [(MESSAGES[0][0], DUE_MS - 1), *MESSAGES[1:]],
            ACCEPTED,
            {"early": 1},
            id="early by the record's clock",
        ),
        pytest.param(
            [changed(MESSAGES[0], message=OTHER_BODY), *MESSAGES[1:]],
            ACCEPTED,
            {"altered": 1},
            id="altered",
        ),
        pytest.param(MESSAGES, [], {"unanswered": 1}, id="unanswered"),
        pytest.param(MESSAGES, ACCEPTED * 2, {"answered_twice": 1}, id="answered twice"),
        pytest.param(
            MESSAGES,
            [*ACCEPTED, said(PLAIN, Status.CANCELLED, ALL)],
            {"answered_twice": 1},
            id="cancelled by nobody",
        ),
    ],
)
def test_a_request_is_judged_by_what_came_out(
    messages: list[Sent], statuses: list[RequestStatus], findings: dict[str, int]
) -> None:
    assert found(judge([PLAIN], messages, statuses)) == findings


@pytest.mark.parametrize(
    ("messages", "statuses", "findings"),
    [
        pytest.param(0, cancelled(Status.CANCELLED, 0), {}, id="all stopped"),
        pytest.param(2, cancelled(Status.CANCELLED, 2), {}, id="some stopped"),
        pytest.param(2, cancelled(Status.CANCELLED, 3), {}, id="what left was skipped"),
        pytest.param(SENT, cancelled(Status.TOO_LATE), {}, id="too late"),
        pytest.param(
            1, cancelled(Status.CANCELLED, 0), {"false_answers": 1}, id="stopped, but one left"
        ),
        pytest.param(
            3, cancelled(Status.CANCELLED, 2), {"false_answers": 1}, id="more left than was said"
        ),
        pytest.param(
            2, cancelled(Status.CANCELLED, 4), {"false_answers": 1}, id="fewer left than was said"
        ),
        pytest.param(
            2, cancelled(Status.TOO_LATE), {"missing": 2}, id="too late, but some are missing"
        ),
        pytest.param(
            0,
            cancelled(Status.UNKNOWN_REQUEST),
            {"missing": SENT, "false_answers": 1},
            id="unknown, and nothing came",
        ),
        pytest.param(
            0,
            cancelled(Status.CANCELLED, 0)[:1],
            {"unanswered": 1, "missing": SENT},
            id="no answer",
        ),
        pytest.param(
            0,
            [*cancelled(Status.CANCELLED, 0), said(STOPPED, Status.CANCELLED, 0)],
            {"answered_twice": 1},
            id="two answers",
        ),
    ],
)
def test_a_cancel_is_judged_by_what_came_out_after_all(
    messages: int, statuses: list[RequestStatus], findings: dict[str, int]
) -> None:
    assert found(judge([STOPPED], sent(STOPPED, messages), statuses)) == findings


@pytest.mark.parametrize("status", [Status.UNKNOWN_REQUEST, Status.ALREADY_CANCELLED])
def test_the_only_cancel_of_a_known_request_is_nothing_else_than_in_time_or_too_late(
    status: Status,
) -> None:
    assert found(judge([STOPPED], sent(STOPPED), cancelled(status))) == {"false_answers": 1}


def test_a_cancel_accounts_for_every_message() -> None:
    statuses = [said(STOPPED, Status.ACCEPTED), said(STOPPED, Status.CANCELLED, left=2, stopped=2)]
    assert found(judge([STOPPED], sent(STOPPED, 2), statuses)) == {"false_answers": 1}


def test_what_was_judged_is_counted() -> None:
    other = replace(STOPPED, id="c4b9d7a2-0d0f-4d0e-8f4e-2f6f3a9b7e21")
    statuses = [*ACCEPTED, *cancelled(Status.CANCELLED, 0)]
    statuses += [said(other, Status.ACCEPTED), said(other, Status.TOO_LATE)]
    verdict = judge([PLAIN, STOPPED, other], [*MESSAGES, *sent(other)], statuses)
    assert found(verdict) == {}
    assert (verdict.requests, verdict.cancels, verdict.dispatched) == (3, 2, 2 * SENT)
    assert (verdict.cancelled, verdict.too_late) == (1, 1)
