"""What a value is about, for every event that there is."""

import json
from uuid import UUID

import pytest

from saec.contracts import avro
from saec.contracts.dispatch import encode_message, message_id, recipient_head, slice_tail
from saec.contracts.events import Channel, Message
from saec.contracts.ledger import (
    BatchCommitted,
    BatchOpened,
    ShardTaken,
    SliceDispatched,
    SliceSkip,
    encode_ledger,
)
from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, Status, encode_status
from saec.contracts.subject import Subject, subject_of
from saec.errors import Reason

ID, OTHER = (UUID(int=n) for n in (1, 2))
MESSAGE = Message(body=b"x", content_type="text/plain")


def dispatched(customer: str | None = "42", campaign: str | None = "may") -> bytes:
    head = recipient_head(message_id(ID.bytes, Channel.SMS, customer), customer, Channel.SMS, None)
    return head + slice_tail(1, ID, campaign, "tests", 1, None, encode_message(MESSAGE))


def committed() -> bytes:
    slices = (SliceDispatched(ID, 0, 1, 1),)
    skips = (SliceSkip(OTHER, 0, Channel.SMS, Reason.EXPIRED, 1),)
    return encode_ledger(BatchCommitted(0, 1, "owner", 1, 1, slices, skips))


def of(requests: object = (), customers: object = (), campaign: str | None = None) -> Subject:
    return Subject(frozenset(map(str, requests)), frozenset(customers), campaign)  # type: ignore[call-overload]


CASES = {
    "message": (dispatched(), of([ID], ["42"], "may")),
    "push": (dispatched(None, None), of([ID])),
    "answer": (encode_status(RequestStatus(str(ID), Status.ACCEPTED, 1)), of([ID])),
    "answer about a customer": (
        encode_status(RequestStatus(None, Status.REJECTED, 1, customer_id="42")),
        of(customers=["42"]),
    ),
    "batch": (committed(), of([ID, OTHER])),
    "opened": (encode_ledger(BatchOpened(0, 1, "owner", 1)), of()),
    "sentinel": (encode_ledger(ShardTaken(0, "owner", 1, ID, 0, 1)), of()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_saec_writes(case: str) -> None:
    value, subject = CASES[case]
    assert subject_of(value, None) == subject


EVENTS = {
    "schedule_requested": (
        {
            "id": str(ID),
            "requester": "tests",
            "campaign_id": "may",
            "channels": ["SMS"],
            "customers": ["42", "43"],
            "due_at": 1,
            "expires_at": None,
            "lane": None,
            "message": {"subject": None, "body": "x", "content_type": "t", "attributes": {}},
        },
        of([ID], ["42", "43"], "may"),
    ),
    "cancel_requested": ({"id": str(ID), "requester": "tests"}, of([ID])),
    "customer_registered": (
        {"id": "42", "name": None, "email": None, "phone": None, "opted_out": []},
        of(customers=["42"]),
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_what_others_publish_in_json_and_in_avro(name: str) -> None:
    fields, subject = EVENTS[name]
    type_ = "saec.v1." + name.title().replace("_", "")
    assert subject_of(json.dumps({"type": type_, **fields}).encode(), None) == subject
    if "message" in fields:
        fields = fields | {"message": fields["message"] | {"body": b"x"}}  # type: ignore[operator]
    assert subject_of(avro.encode_single(name, fields), None) == subject


def test_every_event_is_known_here() -> None:
    told = {*EVENTS, "dispatch_message", "request_status"}
    assert set(avro.names()) == told | {"batch_committed", "batch_opened", "shard_taken"}


def test_fields_of_the_wrong_kind_are_about_nobody() -> None:
    value = {"type": "saec.v1.ScheduleRequested", "id": 1, "customers": [1, None], "campaign_id": 2}
    assert subject_of(json.dumps(value).encode(), None) == Subject()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type":1}',
        b'{"type":"t"}',
        b"\xc3\x01",
        committed()[:-1],
    ],
)
def test_anything_else_is_refused(value: bytes) -> None:
    with pytest.raises(RejectedError):
        subject_of(value, None)
