"""Which record an answer is about, where a topic was recreated and uses its offsets again."""

from collections.abc import Sequence
from itertools import permutations
from uuid import UUID

import pytest

from saec.contracts.headers import cloud_event
from saec.contracts.status import EVENT_TYPE, RequestStatus, Status, encode_status, late_id
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.recover.given import Given
from saec.store.cancels import Stopped

TOPIC = "saec.requests"
ID = UUID(int=1)
OLD_MS, NEW_MS = 1_800_000_000_000, 1_800_000_060_000


def record(at_ms: int) -> Incoming:
    """What stands at the one place."""
    return Incoming(TOPIC, 0, 7, at_ms, None, None)


def said(status: Status, at_ms: int, stopped: int = 0, *, late: bool = False) -> Incoming:
    """An answer to what stands there."""
    counts = {"recipients_stopped": stopped, "messages_stopped": stopped}
    counts |= {"recipients_left": 0, "messages_left": 0}
    answer = RequestStatus(
        request_id=str(ID),
        status=status,
        at_ms=at_ms,
        counts=counts if status is Status.CANCELLED else {},
    )
    about = late_id(TOPIC, 0, 7) if late else f"{TOPIC}/0/7"
    headers = cloud_event(EVENT_TYPE, "/saec/requests", about, None)
    return Incoming("saec.status", 0, 0, at_ms, None, encode_status(answer), headers)


def given(answers: Sequence[Incoming]) -> Given:
    """With these answers, in this order."""
    made = Given(TOPIC, {0: Stretch(5, 10)})
    for one in answers:
        made.add(one)
    return made


@pytest.mark.parametrize("late", [False, True])
def test_an_answer_to_what_stood_there_before_is_none(*, late: bool) -> None:
    known = given([said(Status.CANCELLED, OLD_MS, 3, late=late)])
    assert known.status(record(OLD_MS)) is Status.CANCELLED
    assert known.status(record(NEW_MS)) is None
    assert not known.is_late(record(NEW_MS))


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_answer_to_what_stands_there_now_is_found_whatever_comes_first(
    order: Sequence[int],
) -> None:
    answers = [
        said(Status.CANCELLED, OLD_MS, 3),
        said(Status.CANCELLED, OLD_MS, 2, late=True),
        said(Status.CANCELLED, NEW_MS, 5),
    ]
    known = given([answers[number] for number in order])
    assert known.status(record(NEW_MS)) is Status.CANCELLED
    assert known.stopped(record(NEW_MS)) == Stopped(5, 5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_second_answers_the_newer_stands(order: Sequence[int]) -> None:
    answers = [said(Status.CANCELLED, at, at - OLD_MS, late=True) for at in (OLD_MS, NEW_MS)]
    known = given([answers[number] for number in order])
    assert known.is_late(record(NEW_MS))
    assert known.stopped(record(NEW_MS)) == Stopped(NEW_MS - OLD_MS, NEW_MS - OLD_MS)
