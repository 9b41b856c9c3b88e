"""What senders get: put together from bytes, equal to what an Avro encoder writes."""

from typing import Any
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro, varint
from saec.contracts.dispatch import (
    DispatchMessage,
    decode_dispatch,
    encode_message,
    message_id,
    recipient_head,
    slice_tail,
)
from saec.contracts.events import Channel, Message
from tests.contracts import values

REQUEST = UUID(values.ID)

dispatches = st.builds(
    DispatchMessage,
    message_id=values.uuids.map(str),
    customer_id=st.none() | st.text(max_size=200),
    channel=values.channels,
    address=st.none() | st.text(max_size=200),
    dispatched_at_ms=values.instants,
    request_id=values.uuids,
    campaign_id=st.none() | st.text(max_size=200),
    requester=st.text(max_size=200),
    due_at_ms=values.instants,
    expires_at_ms=st.none() | values.instants,
    message=values.messages,
)


def spliced(message: DispatchMessage) -> bytes:
    head = recipient_head(message.message_id, message.customer_id, message.channel, message.address)
    tail = slice_tail(
        message.dispatched_at_ms,
        message.request_id,
        message.campaign_id,
        message.requester,
        message.due_at_ms,
        message.expires_at_ms,
        encode_message(message.message),
    )
    return head + tail


def record(message: DispatchMessage) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "customer_id": message.customer_id,
        "channel": message.channel.value,
        "address": message.address,
        "dispatched_at": message.dispatched_at_ms,
        "request_id": str(message.request_id),
        "campaign_id": message.campaign_id,
        "requester": message.requester,
        "due_at": message.due_at_ms,
        "expires_at": message.expires_at_ms,
        "message": dict(message.message),
    }


@given(dispatches)
def test_head_and_tail_are_what_an_encoder_writes(message: DispatchMessage) -> None:
    assert spliced(message) == avro.encode_single("dispatch_message", record(message))


@given(dispatches)
def test_what_is_written_is_what_is_read(message: DispatchMessage) -> None:
    assert decode_dispatch(spliced(message)) == message


@given(values.messages)
def test_the_message_part_is_the_end_of_a_request(message: Message) -> None:
    assert values.schedule_avro(message=dict(message)).endswith(encode_message(message))


def test_the_order_of_the_fields_is_what_the_parts_rely_on() -> None:
    assert [field["name"] for field in avro.load("dispatch_message")["fields"]] == [
        *("message_id", "customer_id", "channel", "address"),
        *("dispatched_at", "request_id", "campaign_id", "requester", "due_at", "expires_at"),
        "message",
    ]


def test_the_ids_of_messages_are_these() -> None:
    assert message_id(REQUEST.bytes, Channel.EMAIL, "42") == "a1b5a6f1-dfe4-5aa3-8f98-5d783ebce8e2"
    assert message_id(REQUEST.bytes, Channel.PUSH, None) == "680e1ff1-9953-537f-aeed-2008d586d493"
    for vector in ("a1b5a6f1-dfe4-5aa3-8f98-5d783ebce8e2", "680e1ff1-9953-537f-aeed-2008d586d493"):
        assert vector in (message_id.__doc__ or "")


@given(values.uuids, values.channels, st.none() | st.text(max_size=200))
def test_the_ids_of_messages_are_uuid5(
    request_id: UUID, channel: Channel, customer_id: str | None
) -> None:
    expected = uuid5(request_id, f"{channel}:{customer_id or ''}")
    assert message_id(request_id.bytes, channel, customer_id) == str(expected)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_what_an_encoder_writes(number: int) -> None:
    schema = {"type": "record", "name": "Number", "fields": [{"name": "n", "type": "long"}]}
    assert varint.long(number) == avro.encode_body(schema, {"n": number})


def test_nothing_personal_shows() -> None:
    message = DispatchMessage(
        *("id", "ana", Channel.EMAIL, "ana@example.com", 1, REQUEST, None, "billing", 1, None),
        Message(body=b"ana", content_type="text/plain"),
    )
    assert "ana" not in repr(message)
    assert "ana" not in repr(message.message)
