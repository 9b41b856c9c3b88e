"""What reading a hostile value costs: at most 8 calls and 64 bytes of memory for each byte of it.

Calls are counted, because seconds depend on the machine. What a single call into C costs is not
counted: there a bound of seconds, which only a cost that grows faster than the value exceeds.
"""

import json
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from saec.contracts import varint
from saec.contracts.decode import RejectedError, decode_customer, decode_request
from saec.ingest import addresses
from tests.calls import calls
from tests.contracts.test_avro_input import PREFIX, UP_TO_CHANNELS, UP_TO_CUSTOMERS
from tests.contracts.values import AVRO_FIELDS, CUSTOMER, SCHEDULE, message_json, schedule_avro
from tests.contracts.values import schedule_json as request

LARGEST = 1_000_000
MOST_S = 60.0
MOST_CALLS = 8
MOST_TIMES = 64


def fill(before: str, again: str, after: str) -> bytes:
    """As much of `again` as a value may have."""
    room = LARGEST - len(before.encode()) - len(after.encode())
    return (before + again * (room // len(again.encode())) + after).encode()


def numbered(before: str, again: str, after: str, count: int = 60_000) -> bytes:
    """`again` with a number in it, and so never the same."""
    return (before + ",".join(again % number for number in range(count)) + after).encode()


OPEN = SCHEDULE[:-1] + ","
OPEN_MESSAGE = '{"type":"saec.v1.ScheduleRequested","message":{"body":"",'
MANY = dict.fromkeys(map(str, range(75_000)), "")
REQUESTS = {
    "lists in lists": fill("", "[", ""),
    "lists in lists, closed": b"[" * 500_000 + b"]" * 500_000,
    "objects in objects": fill("", '{"a":', ""),
    "empty lists": fill("[", "[],", "0]"),
    "empty objects": fill("[", "{},", "0]"),
    "four deep, and wide": fill('{"a":[[', "[1],", "[]]]}"),
    "fields of an event": numbered(OPEN, '"%d":0', "}"),
    "fields of no event": numbered("{", '"%d":0', "}"),
    "the same field": fill("{", '"a":0,', '"a":0}'),
    "fields of a message": numbered(
        '{"type":"saec.v1.ScheduleRequested","message":{', '"%d":0', "}}"
    ),
    "attributes": message_json(attributes=MANY),
    "an endless number": fill("[", "1", "]"),
    "an endless fraction": fill('{"a":0.', "1", "}"),
    "an endless exponent": fill('{"a":1e', "9", "}"),
    "many long numbers": fill("[", "9" * 32 + ",", "0]"),
    "many fractions": fill("[", "1e5,", "0]"),
    "escapes": fill('{"a":"', "\\u0041", '"}'),
    "pairs of surrogates": fill('{"a":"', "\\ud83d\\ude00", '"}'),
    "half pairs": fill('{"a":"', "\\ud83d", '"}'),
    "a text that does not end": fill('{"a":"', "a", ""),
    "backslashes": fill('{"a":"', "\\\\", ""),
    "whitespace": fill("", " \n", ""),
    "customers that are numbers": request(customers=[1] * 300_000),
    "customers that are empty": request(customers=[""] * 200_000),
    "customers that are lists": request(customers=[[]] * 200_000),
    "too many customers": request(customers=[str(number) for number in range(90_000)]),
    "one customer": request(customers=["4"] * 190_000),
    "channels": request(channels=["EMAIL"] * 90_000),
    "channels that are numbers": request(channels=[0] * 300_000),
    "a long id": request(id="a" * 900_000),
    "an id of other digits": request(id="٦" * 140_000),
    "a long requester": request(requester="é" * 140_000),
    "a long instant": request(due_at="2026-12-01T09:00:00." + "9" * 900_000),
    "an instant of spaces": request(due_at=" " * 900_000),
    "a long body": message_json(body="\x01" * 160_000),
    "base64": message_json(body=None, body_base64="A" * 890_000),
    "base64 that is none": message_json(body=None, body_base64="A" * 890_001 + "="),
    "Avro: a text of a terabyte": PREFIX + varint.long(2**40) + bytes(900_000),
    "Avro: an endless number": PREFIX + b"\x80" * 900_000 + b"\x01",
    "Avro: endless channels": UP_TO_CHANNELS + varint.long(2**62) + b"\x02" * 900_000,
    "Avro: sized channels": UP_TO_CHANNELS + varint.long(-(2**62)) + b"\x06" + b"\x02" * 900_000,
    "Avro: endless customers": UP_TO_CUSTOMERS + varint.long(2**62) + bytes(900_000),
    "Avro: blocks of one": UP_TO_CUSTOMERS + b"\x02\x00" * 450_000,
    "Avro: blocks of one, whole": schedule_avro(customers=["x"]).replace(
        varint.long(1) + b"\x02x\x00", (varint.long(1) + b"\x02x") * 300_000 + b"\x00"
    ),
    "Avro: customers": schedule_avro(customers=["4"] * 450_000),
    "Avro: attributes": schedule_avro(message={**AVRO_FIELDS["message"], "attributes": MANY}),
}
CUSTOMERS = {
    "fields of a customer": numbered(CUSTOMER[:-1] + ",", '"%d":0', "}"),
    "opt-outs": json.dumps(json.loads(CUSTOMER) | {"opted_out": ["SMS"] * 150_000}).encode(),
    "a long e-mail": json.dumps(json.loads(CUSTOMER) | {"email": "a" * 900_000}).encode(),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_read_within_bounds(name: str) -> None:
    value = REQUESTS[name]
    assert 50_000 < len(value) <= LARGEST
    is_bounded(len(value), lambda: decode_request(value, None, LARGEST))


@pytest.mark.parametrize("name", CUSTOMERS)
def test_a_customer_is_read_within_bounds(name: str) -> None:
    value = CUSTOMERS[name]
    is_bounded(len(value), lambda: decode_customer(b"42", value, None, LARGEST))


def test_a_million_keys_are_not_even_read() -> None:
    """Where somebody allows as much, they cost what their size costs."""
    value = numbered(OPEN, '"%d":0', "}", 1_000_000)
    outcome(lambda: decode_request(value, None, LARGEST))

    def read() -> None:
        with pytest.raises(RejectedError):
            decode_request(value, None, len(value))

    assert calls(read) < MOST_CALLS * len(value)


@pytest.mark.parametrize(
    "again", ["a.", "a@", "é", "\u0301", "(", '"', "\\", "xn--", "-", "1", "+"]
)
@pytest.mark.parametrize("form", ["%s", "a@%s", "%s@example.com", '"%s"@b.com', "a@[%s]"])
def test_an_address_is_checked_within_bounds(form: str, again: str) -> None:
    text = form % (again * 1_000)[: 1_000 - len(form)]
    for check in (addresses.email, addresses.phone):
        started_s = time.thread_time()
        with suppress(addresses.AddressError):
            check(text)
        assert time.thread_time() - started_s < MOST_S


def is_bounded(size: int, read: Callable[[], object]) -> None:
    """Whatever `read` does, it takes no more work and no more memory than a value may cost."""
    started_s = time.thread_time()
    outcome(read)
    assert time.thread_time() - started_s < MOST_S
    assert calls(lambda: outcome(read)) < MOST_CALLS * max(size, 50_000)
    tracemalloc.start()
    try:
        outcome(read)
        assert tracemalloc.get_traced_memory()[1] < MOST_TIMES * max(size, 50_000)
    finally:
        tracemalloc.stop()


def outcome(read: Callable[[], object]) -> None:
    try:
        read()
    except RejectedError:
        return
