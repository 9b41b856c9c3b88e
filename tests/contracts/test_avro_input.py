"""Requests as programs write them: Avro, single-object encoding."""

import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro, varint
from saec.contracts.decode import RejectedError
from saec.contracts.events import CancelRequested, Lane
from tests.contracts import values
from tests.contracts.values import refusal, schedule_avro, schedule_json, scheduled

PREFIX = avro.prefix("schedule_requested")
BYTES = 90_000
# What such a value may cost: a few lines for each of its bytes, and some memory.
LINES_A_BYTE = 20
MOST_BYTES = 5_000_000
UP_TO_CHANNELS = PREFIX + varint.text(values.ID) + varint.text("r") + b"\x00"
UP_TO_CUSTOMERS = UP_TO_CHANNELS + varint.long(1) + b"\x02\x00"


def test_avro_and_json_give_the_same_event() -> None:
    assert scheduled(schedule_avro()) == scheduled(values.SCHEDULE.encode())


def test_a_cancel() -> None:
    value = avro.encode_single("cancel_requested", {"id": values.ID, "requester": "billing"})
    assert values.decode(value) == CancelRequested(id=UUID(values.ID), requester="billing")


def test_the_lane_has_the_same_default() -> None:
    assert scheduled(schedule_avro(lane=None)).lane is Lane.TRANSACTIONAL
    assert scheduled(schedule_avro(lane=None, customers=["1", "2"])).lane is Lane.CAMPAIGN


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x00\x00\x00\x00\x07" + schedule_avro()[10:], "schema registry"),
        (b"\x00" * 8 + schedule_avro()[10:], "schema registry"),
        (b"Obj\x01" + bytes(20), "an Avro file"),
        (b"\xc3\x02" + schedule_avro()[2:], "another marker"),
        (schedule_avro()[10:], "binary"),
        (values.SCHEDULE.encode(), "application/json"),
        (b"\x1f\x8b" + bytes(20), "gzip"),
    ],
    ids=["Confluent", "Apicurio", "file", "marker", "body alone", "JSON", "gzip"],
)
def test_what_it_looks_like_is_said_also_where_avro_was_announced(value: bytes, words: str) -> None:
    with pytest.raises(RejectedError, match=words) as announced:
        values.decode(value, [("content-type", b"application/avro")])
    assert announced.value.reason == "invalid_avro"
    if words != "application/json":
        with pytest.raises(RejectedError, match=words):
            values.decode(value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": values.ID.upper()}, "invalid_id"),
        ({"requester": "a\x00"}, "invalid_event"),
        ({"channels": ["UNKNOWN"]}, "unknown_channel"),
        ({"channels": []}, "invalid_event"),
        ({"customers": []}, "invalid_customers"),
        ({"customers": [""]}, "invalid_customers"),
        ({"due_at": -1}, "invalid_instant"),
        ({"expires_at": 0}, "expires_before_due"),
        ({"lane": "UNKNOWN"}, "invalid_event"),
        ({"message": {**values.AVRO_FIELDS["message"], "subject": "a\n"}}, "invalid_message"),
    ],
    ids=lambda given: repr(given)[:40],
)
def test_the_same_rules_as_for_json(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        values.decode(schedule_avro(**changes))
    assert caught.value.reason == reason
    assert caught.value.request_id == (None if "id" in changes else UUID(values.ID))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (schedule_avro() + b"\x00", "invalid_avro"),
        (schedule_avro()[:-1], "invalid_avro"),
        (PREFIX, "invalid_avro"),
        (avro.MARKER, "invalid_avro"),
        (avro.MARKER + bytes(8), "unknown_schema"),
        (avro.prefix("dispatch_message") + b"x", "unknown_event_type"),
        (avro.prefix("customer_registered") + b"x", "unknown_event_type"),
        (PREFIX + varint.text("\x00") + b"\xff" * 40, "invalid_avro"),
        (PREFIX + b"\x04\xff\xff", "invalid_avro"),  # a text that is not UTF-8
    ],
)
def test_what_is_no_event_is_refused(value: bytes, reason: str) -> None:
    assert refusal(value) == reason


@pytest.mark.parametrize(
    "value",
    [
        PREFIX + varint.long(2**40) + b"x",  # a text of a terabyte
        PREFIX + varint.long(-5) + b"x" * 100,
        PREFIX + b"\x80" * BYTES + b"\x01",  # a number of 630,000 bits
        UP_TO_CHANNELS + varint.long(2**62) + b"\x02" * BYTES,
        UP_TO_CHANNELS + varint.long(-(2**62)) + varint.long(3) + b"\x02" * BYTES,
        UP_TO_CHANNELS + varint.long(-(2**63)) + varint.long(3) + b"\x02" * BYTES,
        UP_TO_CUSTOMERS + varint.long(2**62) + b"\x00" * BYTES,  # empty texts
        UP_TO_CUSTOMERS + b"\x02\x00" * (BYTES // 2),  # one block each
        schedule_avro()[:-18] + varint.long(2**62) + b"\x00" * BYTES,  # in the attributes
    ],
    ids=range(9),
)
def test_declared_lengths_cost_nothing(value: bytes) -> None:
    """Neither memory nor work: lines that run, since how long they take is the machine's affair."""
    refusal(value)  # so that the schemas are read already
    tracemalloc.start()
    try:
        with lines_counted() as ran:
            assert refusal(value) == "invalid_avro"
        assert ran[0] < LINES_A_BYTE * len(value) + 1_000
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@contextmanager
def lines_counted() -> Iterator[list[int]]:
    """How many lines of Python run within the block."""
    ran, before = [0], sys.gettrace()

    def count(_frame: FrameType, event: str, _arg: object) -> Any:
        ran[0] += event == "line"
        return count

    sys.settrace(count)
    try:
        yield ran
    finally:
        sys.settrace(before)


def test_the_header_tells_what_it_is_where_there_is_one() -> None:
    as_json: list[tuple[str, bytes | None]] = [("Content-Type", b"application/json; charset=utf-8")]
    as_avro: list[tuple[str, bytes | None]] = [("content-type", b"application/avro")]
    assert values.decode(values.SCHEDULE.encode(), as_json)
    assert values.decode(schedule_avro(), as_avro)
    assert refusal(schedule_avro(), as_json) == "not_utf8"
    assert refusal(values.SCHEDULE.encode(), as_avro) == "invalid_avro"


@given(st.data())
def test_any_change_of_bytes_is_accepted_or_refused(data: st.DataObject) -> None:
    value = bytearray(schedule_avro())
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    values.accepted(lambda: values.decode(bytes(value)))


@given(values.messages, values.instants, st.lists(values.ids, min_size=1, max_size=5))
def test_what_is_written_is_what_is_read(
    message: object, due_at: int, customers: list[str]
) -> None:
    request = scheduled(
        schedule_avro(message=dict(message), due_at=due_at, customers=customers)  # type: ignore[call-overload]
    )
    assert request.message == message
    assert request.due_at_ms == due_at
    assert request.customers == tuple(dict.fromkeys(customers))


def test_a_request_is_the_same_in_both_kinds() -> None:
    changes = {"expires_at": values.AVRO_FIELDS["due_at"] + 1, "customers": ["a", "b"]}
    assert scheduled(schedule_avro(**changes)) == scheduled(schedule_json(**changes))
    assert json.loads(values.SCHEDULE)["id"] == values.ID
