"""Requests taken into the real database: what is stored, and what is answered."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from saec.contracts import headers
from saec.contracts.dispatch import encode_message
from saec.contracts.events import Channel, Message, ScheduleRequested
from saec.contracts.status import RequestStatus, Status
from saec.errors import Reason
from saec.ingest.requests import content_hash
from saec.kafka.records import Incoming, Outgoing
from saec.store.shards import shard_of
from tests.ingest.kit import APPENDED_MS, HOUR_MS, ID, OTHER_ID, Ingest, behind, cancel, schedule

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRETS = ("Olá", "Ol\\u00e1", "fatura", "segredo", "Assunto")


def outcomes(statuses: list[RequestStatus]) -> list[tuple[Status, Reason | None]]:
    return [(status.status, status.reason) for status in statuses]


def rejected(ingest: Ingest, answers: list[Outgoing]) -> list[Outgoing]:
    return [one for one in answers if one.topic == ingest.settings.topics.rejected]


def test_an_accepted_request_is_stored_with_its_slices(ingest: Ingest) -> None:
    value = schedule(
        channels=["PUSH", "SMS", "EMAIL"],
        customers=["a", "b", "a"],
        campaign_id="spring",
        expires_at=APPENDED_MS + 2 * HOUR_MS,
    )
    record = ingest.record(value, partition=1, headers=[("traceparent", TRACE)])
    (status,) = ingest.answer(record)
    assert status == RequestStatus(
        request_id=str(ID),
        status=Status.ACCEPTED,
        at_ms=APPENDED_MS,
        counts={"recipients": 3, "messages": 5},
    )
    due, expires = APPENDED_MS + HOUR_MS, APPENDED_MS + 2 * HOUR_MS
    assert ingest.sql(
        "SELECT requester, campaign_id, channels, lane, due_at_ms, expires_at_ms, recipients,"
        " messages, slices, source_partition, source_offset, accepted_at_ms FROM requests"
    ) == [("billing", "spring", 11, 1, due, expires, 3, 5, 3, 1, 0, APPENDED_MS)]
    shard = shard_of(ID, ingest.settings.shards)
    rows = ingest.sql(
        "SELECT slice_no, channels, recipients, messages, customers, shard, lane, due_at_ms,"
        " expires_at_ms, requester, campaign_id, traceparent FROM pending ORDER BY seq"
    )
    rest = (shard, 1, due, expires, "billing", "spring", TRACE.decode())
    assert rows == [
        (0, 3, 1, 2, ["a"], *rest),
        (1, 3, 1, 2, ["b"], *rest),
        (2, 8, 1, 1, [], *rest),
    ]


def test_the_body_is_stored_byte_for_byte(ingest: Ingest) -> None:
    body = bytes(range(256))
    message = {"body_base64": base64.b64encode(body).decode(), "content_type": "a/b"}
    ingest.take(ingest.record(schedule(message=message)))
    ((stored,),) = ingest.sql("SELECT message FROM pending")
    assert bytes(stored) == encode_message(Message(body=body, content_type="a/b"))


def test_the_answer_says_what_it_answers(ingest: Ingest) -> None:
    (answer,) = ingest.take(ingest.record(schedule(), headers=[("traceparent", TRACE)]))
    assert (answer.topic, answer.key) == (ingest.settings.topics.status, str(ID).encode())
    assert answer.headers == headers.cloud_event(
        "saec.v1.RequestStatus",
        "/saec/requests",
        f"{ingest.settings.topics.requests}/0/0",
        TRACE.decode(),
    )


def test_the_same_again_is_a_duplicate_and_stores_nothing(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    before = ingest.stored()
    reordered = json.dumps(dict(reversed(json.loads(schedule()).items()))).encode()
    answers = ingest.answer(
        ingest.record(schedule()), ingest.record(reordered), ingest.record(schedule(), partition=1)
    )
    assert outcomes(answers) == [(Status.DUPLICATE, None)] * 3
    assert all(answer.counts == {"recipients": 1, "messages": 2} for answer in answers)
    assert ingest.stored() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"requester": "other"},
        {"campaign_id": "c"},
        {"channels": ["EMAIL"]},
        {"customers": ["43"]},
        {"due_at": APPENDED_MS + HOUR_MS + 1},
        {"expires_at": APPENDED_MS + 2 * HOUR_MS},
        {"lane": "CAMPAIGN"},
        {"message": {"body": "Olá!", "content_type": "text/plain"}},
        {"message": {**json.loads(schedule())["message"], "attributes": {"a": "b"}}},
    ],
    ids="-".join,
)
def test_other_content_under_a_known_id_is_refused(ingest: Ingest, changes: dict[str, Any]) -> None:
    ingest.take(ingest.record(schedule()))
    before = ingest.stored()
    answers = ingest.take(ingest.record(schedule(**changes)))
    assert outcomes(ingest.statuses(answers)) == [(Status.REJECTED, Reason.ID_TAKEN)]
    assert len(rejected(ingest, answers)) == 1
    assert ingest.stored() == before


def test_of_double_ids_in_a_batch_the_first_wins(ingest: Ingest) -> None:
    answers = ingest.answer(
        ingest.record(schedule(requester="first")),
        ingest.record(schedule(requester="second")),
        ingest.record(schedule(requester="first")),
        ingest.record(schedule(OTHER_ID)),
    )
    assert outcomes(answers) == [
        (Status.ACCEPTED, None),
        (Status.REJECTED, Reason.ID_TAKEN),
        (Status.DUPLICATE, None),
        (Status.ACCEPTED, None),
    ]
    assert ingest.sql("SELECT requester FROM requests WHERE source_offset = 0") == [("first",)]
    assert ingest.pending_slices() == [0]


def test_what_was_refused_leaves_its_id_free(ingest: Ingest) -> None:
    late = ingest.record(schedule(due_at=APPENDED_MS - HOUR_MS))
    good = ingest.record(schedule())
    expected = [(Status.REJECTED, Reason.DUE_IN_THE_PAST), (Status.ACCEPTED, None)]
    assert outcomes(ingest.answer(late, good)) == expected
    # Once more, when the id is taken: the refusal is still about the instant.
    assert outcomes(ingest.answer(late)) == expected[:1]


@pytest.mark.parametrize(
    ("due_at", "reason"),
    [
        (APPENDED_MS - 60_000, None),
        (APPENDED_MS - 60_001, Reason.DUE_IN_THE_PAST),
        (APPENDED_MS + 86_400_000, None),
        (APPENDED_MS + 86_400_001, Reason.DUE_BEYOND_HORIZON),
    ],
)
def test_the_append_time_decides_what_is_past_and_what_is_too_far(
    make_ingest: Callable[..., Ingest], due_at: int, reason: Reason | None
) -> None:
    ingest = make_ingest(grace_s=60, horizon_days=1)
    answers = ingest.take(ingest.record(schedule(due_at=due_at)))
    status = Status.ACCEPTED if reason is None else Status.REJECTED
    assert outcomes(ingest.statuses(answers)) == [(status, reason)]
    assert len(rejected(ingest, answers)) == int(reason is not None)
    assert bool(ingest.pending_slices()) == (reason is None)


def test_a_duplicate_that_comes_after_its_due_time_is_still_a_duplicate(ingest: Ingest) -> None:
    ingest.take(ingest.record(schedule()))
    later = ingest.record(schedule(), appended_at_ms=APPENDED_MS + 2 * HOUR_MS)
    assert outcomes(ingest.answer(later)) == [(Status.DUPLICATE, None)]


UNREADABLE = {
    "null": (None, Reason.EMPTY_VALUE, False),
    "empty": (b"", Reason.EMPTY_VALUE, False),
    "latin1": ("Olá, segredo".encode("latin-1"), Reason.NOT_UTF8, False),
    "no json": ('{"Olá": segredo}'.encode(), Reason.INVALID_JSON, False),
    "other event": (b'{"type": "segredo", "id": "segredo"}', Reason.UNKNOWN_EVENT_TYPE, False),
    "bad field": (schedule(requester=["segredo"]), Reason.INVALID_EVENT, True),
    "strange field": (schedule(segredo="segredo"), Reason.INVALID_EVENT, True),
    "bad instant": (schedule(due_at="segredo"), Reason.INVALID_INSTANT, True),
    "bad message": (schedule(message={"subject": "segredo"}), Reason.INVALID_MESSAGE, True),
    "too large": (schedule(requester="segredo" * 20_000), Reason.VALUE_TOO_LARGE, False),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_event_is_put_aside_and_stops_nothing(
    make_ingest: Callable[..., Ingest], name: str
) -> None:
    value, reason, id_known = UNREADABLE[name]
    ingest = make_ingest(max_request_bytes=100_000)
    bad = Incoming(ingest.settings.topics.requests, 1, 7, APPENDED_MS, b"\xffkey", value)
    answers = ingest.take(bad, ingest.record(schedule(OTHER_ID)))
    by_id = {status.request_id: status for status in ingest.statuses(answers)}
    assert by_id[str(OTHER_ID)].status is Status.ACCEPTED
    refusal = by_id[str(ID) if id_known else None]
    assert (refusal.status, refusal.reason) == (Status.REJECTED, reason)
    (copy,) = rejected(ingest, answers)
    assert (copy.value, copy.key) == (value, b"\xffkey")
    assert dict(copy.headers) | {"saec-detail": b""} == {
        "saec-reason": reason.value.encode(),
        "saec-detail": b"",
        "saec-source-topic": ingest.settings.topics.requests.encode(),
        "saec-source-partition": b"1",
        "saec-source-offset": b"7",
    }
    assert ingest.positions(ingest.settings.topics.requests) == {0: 1, 1: 8}


def test_what_is_put_aside_keeps_its_headers(ingest: Ingest) -> None:
    """Its content type says how to read it."""
    came = [("content-type", b"application/avro"), ("none", None)]
    answers = ingest.take(ingest.record(b"no event", headers=came))
    (copy,) = rejected(ingest, answers)
    assert list(copy.headers)[:2] == came
    assert ("saec-reason", b"invalid_avro") in copy.headers


def test_what_would_take_too_much_room_is_refused(ingest: Ingest) -> None:
    """Here every recipient is a slice of its own, and carries the message."""
    large = {"body": "x" * 899_500, "content_type": "text/plain"}
    answers = ingest.take(
        ingest.record(schedule(message=large, customers=[str(n) for n in range(300)])),
        ingest.record(schedule(message=large)),
    )
    assert outcomes(ingest.statuses(answers)) == [
        (Status.REJECTED, Reason.REQUEST_TOO_LARGE),
        (Status.ACCEPTED, None),
    ]


def test_no_answer_quotes_what_was_sent(ingest: Ingest) -> None:
    secret = {"subject": "Assunto", "body": "segredo", "content_type": "text/segredo"}
    batch = [
        *(ingest.record(value) for value, _, _ in UNREADABLE.values()),
        ingest.record(schedule(message=secret, customers=["segredo"])),
        ingest.record(schedule(message=secret, customers=["segredo"], requester="segredo")),
        ingest.record(schedule(OTHER_ID, message=secret, due_at=0)),
        ingest.record(cancel(requester="segredo")),
    ]
    answers = ingest.take(*batch)
    assert len(ingest.statuses(answers)) == len(batch)
    for answer in answers:
        said = b"".join(value or b"" for _, value in answer.headers)
        if answer.topic == ingest.settings.topics.status:
            said += answer.value or b""
        for secret_text in SECRETS:
            assert secret_text.encode() not in said


def test_positions_are_saved_with_the_rows(ingest: Ingest) -> None:
    topic = ingest.settings.topics.requests
    ingest.take(ingest.record(schedule()), ingest.record(schedule(OTHER_ID), partition=1))
    assert ingest.positions(topic) == {0: 1, 1: 1}
    ingest.take(ingest.record(cancel()))
    assert ingest.positions(topic) == {0: 2, 1: 1}


def test_two_processes_that_take_the_same_ids_store_each_once(ingest: Ingest) -> None:
    batch = [ingest.record(schedule()), ingest.record(schedule(OTHER_ID))]
    again = [ingest.record(schedule(OTHER_ID), partition=1), ingest.record(schedule(), partition=1)]
    assert {status.status for status in ingest.answer(*batch)} == {Status.ACCEPTED}
    assert {status.status for status in ingest.answer(*again)} == {Status.DUPLICATE}
    assert ingest.sql("SELECT count(*) FROM pending") == [(2,)]
    assert behind(again) == {1: 2}


def test_the_hash_of_a_content_is_the_same_for_ever() -> None:
    """It is stored: another one would refuse what was sent again. U+0378 is no letter yet."""
    message = Message(body=b"x", content_type="text/plain", attributes={"b": "1", "a": "\u0378"})
    event = ScheduleRequested(
        id=ID,
        requester="billing",
        campaign_id=None,
        channels=(Channel.EMAIL, Channel.PUSH),
        customers=("joão", "\u0378", "\U0001f389", "'\"\\"),
        due_at_ms=APPENDED_MS,
        expires_at_ms=APPENDED_MS + 1,
        message=message,
    )
    assert content_hash(event, encode_message(message)).hex() == "e5f3abc1263df7dd376bc2e51f92de3c"
