"""Requests as anyone writes them: JSON, no headers."""

import base64
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts.decode import RejectedError
from saec.contracts.events import CancelRequested, Channel, Lane
from saec.contracts.json_text import parse_object
from tests.calls import calls
from tests.contracts import values
from tests.contracts.values import message_json, refusal, schedule_json, scheduled


def test_the_example_is_read_whole() -> None:
    request = scheduled(values.SCHEDULE.encode())
    assert request.id == UUID(values.ID)
    assert request.requester == "billing"
    assert request.campaign_id is None
    assert request.channels == (Channel.EMAIL, Channel.SMS)
    assert request.customers == ("42",)
    assert request.due_at_ms == 1_796_126_400_000
    assert request.expires_at_ms is None
    assert request.lane is Lane.TRANSACTIONAL
    assert request.message.subject == "Fatura"
    assert request.message.body == "Olá! Sua fatura vence amanhã.".encode()
    assert request.message.content_type == "text/plain; charset=utf-8"
    assert request.message.attributes == {"template": "due-tomorrow"}


def test_a_cancel_names_the_request_and_its_requester() -> None:
    cancel = values.decode(values.CANCEL.encode())
    assert cancel == CancelRequested(id=UUID(values.ID), requester="billing")


def test_what_may_be_left_out_has_a_default() -> None:
    fields = json.loads(values.SCHEDULE)
    for name in ("campaign_id", "expires_at", "lane"):
        del fields[name]
    for name in ("subject", "attributes"):
        del fields["message"][name]
    request = scheduled(json.dumps(fields).encode())
    assert request.campaign_id is None
    assert request.message.subject is None
    assert request.message.attributes == {}


@pytest.mark.parametrize(
    ("customers", "lane"),
    [(["1"], "TRANSACTIONAL"), (["1", "1"], "TRANSACTIONAL"), (["1", "2"], "CAMPAIGN")],
)
def test_the_lane_is_by_the_number_of_customers(customers: list[str], lane: str) -> None:
    assert scheduled(schedule_json(customers=customers, lane=None)).lane == lane


def test_a_push_needs_no_customers() -> None:
    fields = json.loads(values.SCHEDULE)
    del fields["customers"], fields["lane"]
    request = scheduled(json.dumps({**fields, "channels": ["PUSH"]}).encode())
    assert request.customers == ()
    assert request.lane is Lane.TRANSACTIONAL


def test_null_is_as_good_as_left_out() -> None:
    """Many writers have no other way: Go's empty slices and maps, Java's and C#'s nulls."""
    message = json.loads(values.SCHEDULE)["message"] | {"attributes": None, "subject": None}
    read = scheduled(schedule_json(message=message)).message
    assert (read.attributes, read.subject) == ({}, None)
    push = scheduled(schedule_json(channels=["PUSH"], customers=None, lane=None))
    assert push.customers == ()
    for name in ("id", "requester", "channels", "due_at", "message"):
        fields = json.loads(values.SCHEDULE)
        del fields[name]
        absent, null = json.dumps(fields).encode(), schedule_json(**{name: None})
        with pytest.raises(RejectedError) as said:
            values.decode(null)
        with pytest.raises(RejectedError) as wanted:
            values.decode(absent)
        assert str(said.value) == str(wanted.value)


def test_a_field_that_is_not_known_is_refused_also_when_it_is_null() -> None:
    assert refusal(schedule_json(priority=None)) == "invalid_event"
    assert refusal(schedule_json(customers=None)) == "invalid_customers"


def test_doubles_are_removed() -> None:
    request = scheduled(
        schedule_json(customers=["b", "a", "b"], channels=["PUSH", "SMS", "EMAIL", "SMS"])
    )
    assert request.customers == ("b", "a")
    assert request.channels == (Channel.EMAIL, Channel.SMS, Channel.PUSH)


def test_up_to_10_000_customers_after_removing_doubles() -> None:
    customers = [str(number) for number in range(10_000)]
    assert len(scheduled(schedule_json(customers=customers * 2)).customers) == 10_000
    assert refusal(schedule_json(customers=[*customers, "x"])) == "invalid_customers"


def test_a_body_in_base64_is_delivered_byte_for_byte() -> None:
    body = bytes(range(256))
    value = message_json(body=None, body_base64=base64.b64encode(body).decode())
    assert scheduled(value).message.body == body


def test_seconds_are_found_out_in_both_instants() -> None:
    with pytest.raises(RejectedError, match="milliseconds, not seconds"):
        values.decode(schedule_json(due_at=1_796_126_400_000, expires_at=1_796_130_000))


def test_instants_are_also_epoch_milliseconds() -> None:
    request = scheduled(schedule_json(due_at=1_796_126_400_000, expires_at=1_796_126_400_001))
    assert request == scheduled(
        schedule_json(due_at="2026-12-01T12:00:00Z", expires_at="2026-12-01T12:00:00.001Z")
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty_value"),
        (None, "empty_value"),
        (b" " * (values.MAX_BYTES + 1), "value_too_large"),
        (b"\xff\xfe{}", "not_utf8"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{} {}", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": -Infinity}', "invalid_json"),
        (b'{"a": 1, "a": 1}', "invalid_json"),
        (b'{"message": {"body": "a", "body": "b"}}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"\\udfff": 1}', "invalid_json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "invalid_json"),
        (b'{"a": 0.' + b"9" * 5_000 + b"}", "invalid_json"),
        (b"[" * 500_000, "invalid_json"),
        (b"[" * 400_000 + b"]" * 400_000, "invalid_json"),
        (b'{"a":' * 10 + b"1" + b"}" * 10, "invalid_json"),
        (b"\x00\x00\x00\x00\x01abc", "invalid_json"),
        (b"[]", "invalid_event"),
        (b"1e999", "invalid_event"),
        (b"{}", "unknown_event_type"),
        (b'{"type": []}', "unknown_event_type"),
        (b'{"type": "saec.v1.DispatchMessage"}', "unknown_event_type"),
        (values.CUSTOMER.encode(), "unknown_event_type"),
    ],
    ids=lambda given: None if isinstance(given, str) else repr(given)[:30],
)
def test_what_is_no_event_is_refused(value: bytes | None, reason: str) -> None:
    assert refusal(value) == reason
    assert calls(lambda: refusal(value)) < 2_000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": values.ID.upper()}, "invalid_id"),
        ({"id": "{" + values.ID + "}"}, "invalid_id"),
        ({"id": values.ID.replace("-", "")}, "invalid_id"),
        ({"id": 42}, "invalid_id"),
        ({"id": None}, "invalid_id"),
        ({"requester": ""}, "invalid_event"),
        ({"requester": 42}, "invalid_event"),
        ({"requester": "a" * 129}, "invalid_event"),
        ({"requester": "a\u0000b"}, "invalid_event"),
        ({"requester": "a\r\nb"}, "invalid_event"),
        ({"requester": " a"}, "invalid_event"),
        ({"campaign_id": True}, "invalid_event"),
        ({"channels": []}, "invalid_event"),
        ({"channels": "EMAIL"}, "invalid_event"),
        ({"channels": {"EMAIL": 1}}, "invalid_event"),
        ({"channels": ["email"]}, "unknown_channel"),
        ({"channels": ["UNKNOWN"]}, "unknown_channel"),
        ({"channels": ["EMAIL", 1]}, "unknown_channel"),
        ({"channels": [["EMAIL"]]}, "unknown_channel"),
        ({"customers": []}, "invalid_customers"),
        ({"customers": None}, "invalid_customers"),
        ({"customers": "42"}, "invalid_customers"),
        ({"customers": [42]}, "invalid_customers"),
        ({"customers": [["42"]]}, "invalid_customers"),
        ({"customers": [""]}, "invalid_customers"),
        ({"customers": ["a" * 129]}, "invalid_customers"),
        ({"customers": ["4\u00002"]}, "invalid_customers"),
        ({"customers": ["4\u20282"]}, "invalid_customers"),
        ({"channels": ["PUSH"]}, "invalid_customers"),
        ({"channels": ["PUSH", "SMS"], "customers": []}, "invalid_customers"),
        ({"due_at": True}, "invalid_instant"),
        ({"due_at": 1.0}, "invalid_instant"),
        ({"due_at": "1796126400000"}, "invalid_instant"),
        ({"due_at": "2026-12-01T09:00:00"}, "invalid_instant"),
        ({"due_at": None}, "invalid_instant"),
        ({"due_at": -1}, "invalid_instant"),
        ({"due_at": 10**20}, "invalid_instant"),
        ({"expires_at": "soon"}, "invalid_instant"),
        ({"expires_at": "2026-12-01T09:00:00-03:00"}, "expires_before_due"),
        ({"expires_at": 1}, "expires_before_due"),
        ({"lane": "FAST"}, "invalid_event"),
        ({"lane": "UNKNOWN"}, "invalid_event"),
        ({"lane": 0}, "invalid_event"),
        ({"message": None}, "invalid_message"),
        ({"message": []}, "invalid_message"),
        ({"message": "Olá"}, "invalid_message"),
        ({"priority": 1}, "invalid_event"),
        ({"due_at_ms": 1}, "invalid_event"),
    ],
    ids=repr,
)
def test_an_invalid_field_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        values.decode(schedule_json(**changes))
    assert caught.value.reason == reason
    assert caught.value.request_id == (None if "id" in changes else UUID(values.ID))


@pytest.mark.parametrize(
    "changes",
    [
        {"body": None},
        {"body_base64": "T2w="},
        {"body": 42},
        {"body": "a\u0000b"},
        {"body": None, "body_base64": "T2w"},
        {"body": None, "body_base64": "T2w=\n"},
        {"body": None, "body_base64": "é"},
        {"body": None, "body_base64": ["T2w="]},
        {"subject": 42},
        {"subject": "a\nBcc: b"},
        {"subject": "a" * 1_001},
        {"content_type": None},
        {"content_type": ""},
        {"content_type": "text/plain\r\nx: y"},
        {"content_type": "a" * 256},
        {"attributes": []},
        {"attributes": {"a": 1}},
        {"attributes": {"": "a"}},
        {"attributes": {"a" * 129: "a"}},
        {"attributes": {"a": "b" * 4_097}},
        {"attributes": {"a": "b\u0000"}},
        {"attributes": {str(number): "a" for number in range(65)}},
        {"html": "x"},
    ],
    ids=lambda given: repr(given)[:50],
)
def test_an_invalid_message_is_refused(changes: dict[str, object]) -> None:
    assert refusal(message_json(**changes)) == "invalid_message"


def test_a_refusal_quotes_nothing() -> None:
    secret = "ana@example.com"
    hostile = [
        schedule_json(**{secret: 1}),
        schedule_json(requester=secret + "\n"),
        schedule_json(customers=[secret + "\n"]),
        schedule_json(lane=secret),
        schedule_json(due_at=secret),
        message_json(attributes={secret: 1}),
        message_json(attributes={secret + "\n": "a"}),
        message_json(subject=secret + "\n"),
        message_json(**{secret: 1}),
        b'{"type":"' + secret.encode() + b'"}',
        secret.encode(),
    ]
    for value in hostile:
        with pytest.raises(RejectedError) as caught:
            values.decode(value)
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_refusal_says_where() -> None:
    with pytest.raises(RejectedError) as caught:
        values.decode(schedule_json(customers=["1", "2\n"]))
    assert caught.value.detail.startswith("customers.1: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json.loads(values.SCHEDULE))), json_values)
def test_any_json_in_a_field_is_accepted_or_refused(name: str, content: object) -> None:
    values.accepted(lambda: values.decode(schedule_json(**{name: content})))


@given(
    st.sampled_from(sorted([*json.loads(values.SCHEDULE)["message"], "body_base64"])), json_values
)
def test_any_json_in_the_message_is_accepted_or_refused(name: str, content: object) -> None:
    values.accepted(lambda: values.decode(message_json(**{name: content})))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(value: bytes) -> None:
    assert refusal(value)


@given(values.ids, values.instants, st.text().filter(lambda text: "\x00" not in text))
def test_what_is_written_is_what_is_read(requester: str, due_at: int, body: str) -> None:
    fields = json.loads(message_json(body=body))
    request = scheduled(json.dumps({**fields, "requester": requester, "due_at": due_at}).encode())
    assert (request.requester, request.due_at_ms) == (requester, due_at)
    assert request.message.body == body.encode()


LONG = "1" * 33


@pytest.mark.parametrize(
    "number", [LONG, f"-{LONG}", f"0.{LONG}", f"1e{LONG}", f"1E+{LONG}", "9" * 5_000]
)
def test_a_number_is_no_longer_than_any_that_means_something(number: str) -> None:
    for text in (f'{{"due_at":{number}}}', f'{{"a":"x\\"","due_at": [{number}]}}', f"[{number}"):
        assert refusal(text.encode()) == "invalid_json"


def test_what_looks_like_a_long_number_in_a_text_is_a_text() -> None:
    for text in (LONG, f'\\" {LONG} \\', f'a"{LONG}"b', "-" * 100, "." * 1_000):
        assert parse_object(json.dumps({"a": text, "b": 1}).encode()) == {"a": text, "b": 1}


@pytest.mark.parametrize("body", ['"' + '\\"' * 400_000, "1" * 40 + '"' * 900_000, '"\\' * 300_000])
def test_hostile_texts_are_looked_through_once(body: str) -> None:
    """Each quotation mark begins a text only where none is open; else this would take hours."""
    assert refusal(f"{LONG}{body}".encode()) == "invalid_json"


def test_numbers_are_read_without_a_call_for_each() -> None:
    value = b'{"a":[' + b"1," * 400_000 + b"1.5]}"
    assert calls(lambda: parse_object(value), ("call",)) < 100
