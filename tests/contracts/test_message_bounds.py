"""No accepted request is too large to be dispatched."""

import pytest

from saec.contracts.dispatch import encode_message, message_id, recipient_head, slice_tail
from saec.contracts.events import MAX_MESSAGE_BYTES, Channel, Message
from tests.contracts.values import ID, refusal, schedule_avro, scheduled

WIDE = "\U0001f600"  # four bytes of UTF-8
REST_BYTES = 3_000
BROKER_DEFAULT_BYTES = 1_048_588


def message_of(body_bytes: int) -> Message:
    return Message(body=bytes(body_bytes), content_type="a" * 255, subject=WIDE * 1_000)


def test_the_bound_is_met_exactly_enough() -> None:
    fixed = len(encode_message(message_of(0)))
    largest = message_of(MAX_MESSAGE_BYTES - fixed - 100)
    assert MAX_MESSAGE_BYTES - 200 < len(encode_message(largest)) <= MAX_MESSAGE_BYTES
    with pytest.raises(ValueError, match="900,000"):
        message_of(MAX_MESSAGE_BYTES - fixed + 10)


def test_attributes_count_in_bytes() -> None:
    attributes = {f"{number:02}" + WIDE * 126: WIDE * 4_096 for number in range(64)}
    message = {"subject": None, "body": b"", "content_type": "a", "attributes": attributes}
    assert refusal(schedule_avro(message=message)) in {"value_too_large", "invalid_message"}
    fewer = dict(list(attributes.items())[:50])
    request = scheduled(schedule_avro(message={**message, "attributes": fewer}))
    assert len(encode_message(request.message)) <= MAX_MESSAGE_BYTES


def test_the_rest_of_a_dispatch_message_is_small() -> None:
    name = WIDE * 128
    request = scheduled(schedule_avro(requester=name, campaign_id=name, customers=[name]))
    head = recipient_head(
        message_id(request.id.bytes, Channel.EMAIL, name), name, Channel.EMAIL, WIDE * 254
    )
    late = 253_402_300_799_999
    tail = slice_tail(late, request.id, name, name, late, late, b"")
    assert len(head) + len(tail) < REST_BYTES
    assert MAX_MESSAGE_BYTES + REST_BYTES < BROKER_DEFAULT_BYTES - 100_000
    assert str(request.id) == ID
