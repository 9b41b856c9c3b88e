"""The verdict can fail: each fault, put in by hand, is found and counted."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from saec.contracts.dispatch import DispatchMessage, message_id
from saec.contracts.status import RequestStatus, Status
from saec.demo.expected import Expected, MessageKey, expect
from saec.demo.scenario import Plan, registry, scenario
from saec.demo.verdict import ChannelVerdict, Seen, Verdict, judge
from saec.errors import Reason

START_MS = 1_800_000_000_000
PLAN = Plan(customers=30, singles=10)


@pytest.fixture(scope="module")
def expected() -> Expected:
    return expect(scenario(PLAN, registry(PLAN), START_MS))


@pytest.fixture
def seen(expected: Expected) -> list[Seen]:
    """Everything as it should be."""
    return [_seen(expected, key) for key in expected.messages]


@pytest.fixture
def statuses(expected: Expected) -> list[RequestStatus]:
    """Every answer, and one status for each kind of skip."""
    answers = [
        _answer(subject, status, reason)
        for (subject, status, reason), count in expected.answers.items()
        for _ in range(count)
    ]
    skips = [
        RequestStatus(id_, Status.SKIPPED, 0, reason, {f"{channel}.{reason}": count, "slice": 0})
        for (id_, channel, reason), count in expected.skips.items()
    ]
    return answers + skips


def _seen(expected: Expected, key: MessageKey) -> Seen:
    id_, channel, customer = key
    promise = expected.messages[key]
    at_ms = promise.due_at_ms + 5
    return Seen(
        channel,
        DispatchMessage(
            message_id=message_id(bytes(16), channel, customer),
            customer_id=customer,
            channel=channel,
            address=promise.address,
            dispatched_at_ms=at_ms,
            request_id=id_,  # type: ignore[arg-type]  # only its text is looked at
            campaign_id=None,
            requester="billing",
            due_at_ms=promise.due_at_ms,
            expires_at_ms=None,
            message=promise.message,
        ),
        at_ms,
    )


def _answer(subject: str, status: Status, reason: Reason | None) -> RequestStatus:
    if "-" in subject:
        return RequestStatus(subject, status, 0, reason)
    return RequestStatus(None, status, 0, reason, customer_id=subject)


def faults(verdict: Verdict) -> dict[str, int]:
    """The sums over all channels that are not zero."""
    names = ("missing", "duplicate", "early", "extra", "altered")
    sums = {name: sum(getattr(one, name) for one in verdict.channels) for name in names}
    return {name: total for name, total in sums.items() if total}


def test_everything_in_order_is_ok(
    expected: Expected, seen: list[Seen], statuses: list[RequestStatus]
) -> None:
    verdict = judge(expected, seen, statuses)
    assert verdict.ok
    assert verdict.differences == ()
    assert [one.channel for one in verdict.channels] == ["EMAIL", "SMS", "WHATSAPP", "PUSH"]
    assert all(isinstance(one, ChannelVerdict) and one.expected > 0 for one in verdict.channels)


def _change(**fields: object) -> Callable[[Seen], Seen]:
    return lambda one: replace(one, message=replace(one.message, **fields))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda seen: seen[1:], {"missing": 1}),
        (lambda seen: [*seen, seen[0]], {"duplicate": 1}),
        (lambda seen: [*seen, seen[0], seen[0]], {"duplicate": 2}),
        (lambda seen: [replace(seen[0], produced_at_ms=START_MS - 1), *seen[1:]], {"early": 1}),
        (lambda seen: [_change(dispatched_at_ms=0)(seen[0]), *seen[1:]], {"early": 1}),
        (lambda seen: [*seen, _change(customer_id="other")(seen[0])], {"extra": 1}),
        (
            lambda seen: [_change(customer_id="other")(seen[0]), *seen[1:]],
            {"extra": 1, "missing": 1},
        ),
        (lambda seen: [_change(address="+55")(seen[0]), *seen[1:]], {"altered": 1}),
        (lambda seen: [_change(message=None)(seen[0]), *seen[1:]], {"altered": 1}),
        (lambda seen: seen[:0], None),
    ],
)
def test_a_fault_is_counted_and_fails(
    expected: Expected,
    seen: list[Seen],
    statuses: list[RequestStatus],
    spoil: Callable[[list[Seen]], list[Seen]],
    fault: dict[str, int] | None,
) -> None:
    verdict = judge(expected, spoil(seen), statuses)
    assert not verdict.ok
    assert faults(verdict) == (fault or {"missing": len(expected.messages)})


def test_a_message_in_the_topic_of_another_channel_fails(
    expected: Expected, seen: list[Seen], statuses: list[RequestStatus]
) -> None:
    other = next(one.channel for one in seen if one.channel is not seen[0].channel)
    verdict = judge(expected, [replace(seen[0], channel=other), *seen[1:]], statuses)
    assert faults(verdict) == {"missing": 1, "extra": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told[1:],
        lambda told: [*told, told[0]],
        lambda told: [told[0]._replace(status=Status.REJECTED), *told[1:]],
        lambda told: [told[0]._replace(reason=Reason.EXPIRED), *told[1:]],
        lambda told: told[:-1],
        lambda told: [*told[:-1], told[-1]._replace(counts={"EMAIL.opted_out": 99})],
        lambda told: [*told, RequestStatus("x", Status.SENT, 0)],
    ],
)
def test_a_wrong_answer_is_named_and_fails(
    expected: Expected,
    seen: list[Seen],
    statuses: list[RequestStatus],
    spoil: Callable[[list[RequestStatus]], list[RequestStatus]],
) -> None:
    verdict = judge(expected, seen, spoil(statuses))
    assert not verdict.ok
    assert faults(verdict) == {}
    assert verdict.differences


def test_a_record_that_cannot_be_read_fails(
    expected: Expected, seen: list[Seen], statuses: list[RequestStatus]
) -> None:
    verdict = judge(expected, seen, statuses, unreadable=1)
    assert not verdict.ok
    assert verdict.differences == ("records that cannot be read: 1",)
