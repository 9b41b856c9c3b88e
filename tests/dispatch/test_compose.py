"""Which messages a claimed slice makes, and what is said of those it does not."""

import uuid

import pytest

from saec.contracts.dispatch import decode_dispatch, encode_message, message_id
from saec.contracts.events import Channel, Message, channels_to_bits
from saec.contracts.ledger import SliceSkip
from saec.contracts.status import Status, decode_status
from saec.dispatch.batch import Claim, Composed
from saec.dispatch.compose import compose
from saec.dispatch.read import Snapshot
from saec.errors import Reason
from saec.kafka.records import Outgoing
from saec.settings import Topics
from saec.store.customers import Contact
from saec.store.pending import PendingSlice

TOPICS = Topics("saec.")
NOW_MS = 1_000_000
REQUEST = uuid.UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
MESSAGE = Message(
    subject="Fatura",
    body="Olá! 🎉".encode(),
    content_type="text/plain; charset=utf-8",
    attributes={"template": "due-tomorrow"},
)
CONTACTS = {
    "42": Contact("ana@example.com", "+5511987654321", channels_to_bits([Channel.WHATSAPP])),
    "43": Contact(None, "+5511987654322", 0),
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_slice(
    *channels: Channel,
    customers: tuple[str, ...] = ("42",),
    expires_at_ms: int | None = None,
    traceparent: str | None = None,
) -> PendingSlice:
    return PendingSlice(
        shard=3,
        seq=9,
        request_id=REQUEST,
        slice_no=0,
        due_at_ms=NOW_MS - 5,
        expires_at_ms=expires_at_ms,
        channels=channels_to_bits(channels),
        requester="billing",
        campaign_id="november",
        traceparent=traceparent,
        customers=customers,
        message=encode_message(MESSAGE),
    )


def made(*slices: PendingSlice, status_sent: bool = False) -> Composed:
    claim = Claim([], {3: 8})
    snapshot = Snapshot(NOW_MS, list(slices), CONTACTS)
    return compose(snapshot, claim, TOPICS, status_sent=status_sent)


def to(composed: Composed, topic: str) -> list[Outgoing]:
    return [record for record in composed.records if record.topic == topic]


def test_a_message_carries_everything_a_sender_needs() -> None:
    (record,) = made(a_slice(Channel.EMAIL, traceparent=TRACE)).records
    message = decode_dispatch(record.value or b"")
    expected_id = message_id(REQUEST.bytes, Channel.EMAIL, "42")
    assert record.topic == "saec.dispatch.email"
    assert record.key == b"42"
    assert message.message_id == expected_id
    assert (message.request_id, message.customer_id) == (REQUEST, "42")
    assert (message.requester, message.campaign_id) == ("billing", "november")
    assert (message.channel, message.address) == (Channel.EMAIL, "ana@example.com")
    assert (message.due_at_ms, message.dispatched_at_ms) == (NOW_MS - 5, NOW_MS)
    assert message.message == MESSAGE
    assert dict(record.headers) == {
        "content-type": b"application/avro",
        "ce_specversion": b"1.0",
        "ce_id": expected_id.encode(),
        "ce_source": b"/saec/dispatch",
        "ce_type": b"saec.v1.DispatchMessage",
        "traceparent": TRACE.encode(),
    }


def test_push_is_one_record_without_customer_and_address_keyed_by_the_request() -> None:
    (record,) = made(a_slice(Channel.PUSH, customers=())).records
    message = decode_dispatch(record.value or b"")
    assert (record.topic, record.key) == ("saec.dispatch.push", str(REQUEST).encode())
    assert (message.customer_id, message.address) == (None, None)


@pytest.mark.parametrize(
    ("customer", "channel", "reason"),
    [
        ("42", Channel.WHATSAPP, Reason.OPTED_OUT),
        ("43", Channel.EMAIL, Reason.NO_ADDRESS),
        ("44", Channel.SMS, Reason.UNKNOWN_CUSTOMER),
    ],
)
def test_what_cannot_go_out_is_counted_and_answered(
    customer: str, channel: Channel, reason: Reason
) -> None:
    composed = made(a_slice(channel, customers=(customer,)))
    (status_record,) = composed.records
    status = decode_status(status_record.value or b"")
    assert (status.status, status.reason) == (Status.SKIPPED, reason)
    assert status.request_id == str(REQUEST)
    assert status.counts == {f"{channel}.{reason}": 1, "slice": 0}
    assert composed.shards[0].skips == [SliceSkip(REQUEST, 0, channel, reason, 1)]
    assert composed.shards[0].slices[0].messages == 0


def test_one_status_a_slice_also_for_several_reasons() -> None:
    composed = made(a_slice(Channel.EMAIL, Channel.WHATSAPP, customers=("42", "43", "44")))
    (record,) = to(composed, TOPICS.status)
    status = decode_status(record.value or b"")
    assert (status.status, status.reason) == (Status.SKIPPED, Reason.SEVERAL)
    assert status.counts == {
        "EMAIL.no_address": 1,
        "EMAIL.unknown_customer": 1,
        "WHATSAPP.opted_out": 1,
        "WHATSAPP.unknown_customer": 1,
        "slice": 0,
    }
    assert len(to(composed, "saec.dispatch.email")) == 1
    assert len(to(composed, "saec.dispatch.whatsapp")) == 1


@pytest.mark.parametrize(("expires_at_ms", "goes_out"), [(NOW_MS, False), (NOW_MS + 1, True)])
def test_expiry_is_decided_by_the_snapshots_clock(expires_at_ms: int, *, goes_out: bool) -> None:
    composed = made(a_slice(Channel.EMAIL, Channel.SMS, expires_at_ms=expires_at_ms))
    statuses = [decode_status(r.value or b"") for r in to(composed, TOPICS.status)]
    assert len(composed.records) - len(statuses) == (2 if goes_out else 0)
    assert [s.status for s in statuses] == ([] if goes_out else [Status.EXPIRED])


def test_sent_is_answered_only_where_asked_for() -> None:
    sliced = a_slice(Channel.EMAIL, Channel.SMS)
    assert to(made(sliced), TOPICS.status) == []
    (record,) = to(made(sliced, status_sent=True), TOPICS.status)
    status = decode_status(record.value or b"")
    assert (status.status, status.counts) == (Status.SENT, {"EMAIL": 1, "SMS": 1, "slice": 0})
