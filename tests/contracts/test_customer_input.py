"""Records of the registry."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro
from saec.contracts.decode import RejectedError, decode_customer
from saec.contracts.events import Channel, CustomerErased, CustomerRegistered
from tests.contracts import values


def customer_json(**changes: Any) -> bytes:
    return json.dumps({**json.loads(values.CUSTOMER), **changes}).encode()


def refused(key: bytes | None, value: bytes | None) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        decode_customer(key, value, None, values.MAX_BYTES)
    return caught.value


def test_the_example_is_read_whole() -> None:
    customer = decode_customer(b"42", values.CUSTOMER.encode(), None, values.MAX_BYTES)
    assert customer == CustomerRegistered(
        id="42",
        name="Ana",
        email="ana@example.com",
        phone="+5511987654321",
        opted_out=frozenset({Channel.WHATSAPP}),
    )


def test_avro_gives_the_same() -> None:
    fields = json.loads(values.CUSTOMER)
    del fields["type"]
    value = avro.encode_single("customer_registered", fields)
    assert decode_customer(b"42", value, [], values.MAX_BYTES) == decode_customer(
        b"42", values.CUSTOMER.encode(), None, values.MAX_BYTES
    )


def test_only_the_id_is_needed() -> None:
    value = b'{"type":"saec.v1.CustomerRegistered","id":"42"}'
    customer = decode_customer(b"42", value, None, values.MAX_BYTES)
    assert customer == CustomerRegistered(id="42")


def test_a_null_value_erases() -> None:
    assert decode_customer(b"42", None, None, values.MAX_BYTES) == CustomerErased(id="42")


def test_addresses_are_not_judged_here() -> None:
    value = customer_json(email="nobody", phone="\u0000")
    customer = decode_customer(b"42", value, None, values.MAX_BYTES)
    assert isinstance(customer, CustomerRegistered)
    assert (customer.email, customer.phone) == ("nobody", "\x00")


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"4\n2", b" 42", b"x" * 129])
def test_a_key_that_is_no_id_erases_nobody(key: bytes | None) -> None:
    rejected = refused(key, None)
    assert rejected.reason == "invalid_id"
    assert rejected.customer_id is None


@pytest.mark.parametrize("key", [None, b"", b"43", b"42 ", b"\xff"])
def test_the_key_must_be_the_id(key: bytes | None) -> None:
    assert refused(key, values.CUSTOMER.encode()).reason == "key_mismatch"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": 42}, "invalid_id"),
        ({"id": ""}, "invalid_id"),
        ({"name": "a\r\nb"}, "invalid_event"),
        ({"email": "a" * 1_001}, "invalid_event"),
        ({"phone": 5511987654321}, "invalid_event"),
        ({"opted_out": "EMAIL"}, "invalid_event"),
        ({"opted_out": ["FAX"]}, "unknown_channel"),
        ({"cpf": "1"}, "invalid_event"),
        ({"type": "saec.v1.CancelRequested"}, "unknown_event_type"),
    ],
    ids=lambda given: repr(given)[:40],
)
def test_an_invalid_field_is_refused(changes: dict[str, object], reason: str) -> None:
    rejected = refused(b"42", customer_json(**changes))
    assert rejected.reason == reason
    assert rejected.customer_id == "42"
    assert rejected.request_id is None


def test_an_empty_value_is_not_a_null_one() -> None:
    assert refused(b"42", b"").reason == "empty_value"


def test_nothing_personal_shows() -> None:
    customer = decode_customer(b"42", values.CUSTOMER.encode(), None, values.MAX_BYTES)
    for value in ("Ana", "ana@example.com", "+5511987654321"):
        assert value not in repr(customer)


@given(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=100))
def test_any_bytes_are_accepted_or_refused(key: bytes | None, value: bytes | None) -> None:
    values.accepted(lambda: decode_customer(key, value, None, values.MAX_BYTES))
