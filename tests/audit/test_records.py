"""Columns against the general decoder: the same rows, or named as unreadable. Never an error."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.audit import canonical
from saec.audit.records import Page, read_pages
from saec.contracts import avro, varint
from saec.contracts.decode import RejectedError, decode_request
from saec.contracts.dispatch import decode_dispatch
from saec.contracts.events import (
    CancelRequested,
    Channel,
    canonical_uuid,
    channels_to_bits,
)
from saec.contracts.ledger import decode_ledger, encode_ledger
from saec.contracts.status import decode_status, encode_status
from tests.audit.values import awkward, spoiled
from tests.contracts import values
from tests.contracts.test_ledger_records import committed
from tests.contracts.test_ledger_records import records as ledger_records
from tests.contracts.test_status_value import statuses

Row = dict[str, Any]
REQUESTS = ("schedule_requested", "cancel_requested")
MESSAGES = ("dispatch_message",)
STATUSES = ("request_status",)
LEDGER = ("shard_taken", "batch_opened", "batch_committed")
CANONICAL: dict[tuple[str, ...], Callable[[bytes | None], bytes]] = {
    REQUESTS: lambda value: canonical.request(value, None),
    MESSAGES: canonical.message,
    STATUSES: canonical.status,
    LEDGER: canonical.ledger,
}
NUMBER = st.integers(-(2**63), 2**63 - 1)


def read(
    given_: list[bytes | None], events: tuple[str, ...]
) -> tuple[dict[int, tuple[str, Row]], dict[int, str]]:
    """By record: its event and its row, or the reason why it has none."""
    pages, unreadable = read_pages(given_, events, lambda row: CANONICAL[events](given_[row]))
    found: dict[int, tuple[str, Row]] = {}
    for page in pages:
        for row in _rows(page):
            number = row.pop("row")
            assert number not in found
            found[number] = page.event, row
    strange = {one.row: one.reason for one in unreadable}
    assert len(strange) == len(unreadable)
    assert sorted([*found, *strange]) == list(range(len(given_)))
    return found, strange


def _rows(page: Page) -> list[Row]:
    rows: list[Row] = page.rows.to_pylist()
    if page.shared is None:
        return rows
    shared = page.shared.to_pylist()
    return [{**row, **shared[row["content"]]} for row in rows]


LANES = ("UNKNOWN", "TRANSACTIONAL", "CAMPAIGN")


def of_schedule(event: Mapping[str, Any]) -> Row:
    """The row of a request, from its fields."""
    tail = _content(event, event["id"])
    return {
        "request_id": event["id"],
        "requester": event["requester"],
        "campaign_id": event["campaign_id"],
        "channels": channels_to_bits(Channel(one) for one in event["channels"]),
        "customers": list(event["customers"]),
        "due_ms": event["due_at"],
        "expires_ms": event["expires_at"],
        "lane": None if event["lane"] is None else LANES.index(event["lane"]),
        "attributes": len(event["message"]["attributes"]),
        "content": tail,
    }


def _content(fields: Mapping[str, Any], request_id: str) -> bytes:
    message = avro.load("dispatch_message")["fields"][-1]["type"]
    return (
        varint.text(request_id)
        + varint.optional_text(fields["campaign_id"])
        + varint.text(fields["requester"])
        + varint.long(fields["due_at"])
        + varint.optional_long(fields["expires_at"])
        + avro.encode_body(message, fields["message"])
    )


def of_dispatch(fields: Mapping[str, Any]) -> Row:
    return {
        "message_id": _uuid(fields["message_id"]),
        "customer_id": fields["customer_id"],
        "channel": Channel(fields["channel"]).bit,
        "addressed": fields["address"] is not None,
        "dispatched_ms": fields["dispatched_at"],
        "content": _content(fields, fields["request_id"]),
        "request_id": fields["request_id"],
        "campaign_id": fields["campaign_id"],
        "requester": fields["requester"],
        "due_ms": fields["due_at"],
    }


def _uuid(text: str) -> UUID | None:
    try:
        return canonical_uuid(text)
    except ValueError:
        return None


def of_status(fields: Mapping[str, Any]) -> Row:
    return {
        "request_id": fields["request_id"],
        "of_customer": fields["customer_id"] is not None,
        "status": fields["status"],
        "reason": fields["reason"],
        "stopped": fields["counts"].get("messages_stopped"),
        "people_stopped": fields["counts"].get("recipients_stopped"),
    }


def of_ledger(name: str, fields: Mapping[str, Any]) -> Row:
    row = {"epoch": fields["epoch"], "batch_no": fields["batch_no"]}
    if name != "batch_committed":
        return row
    slices, skips = fields["slices"], fields["skips"]
    return row | {
        "dispatched_ms": fields["dispatched_at"],
        "request_ids": [one["request_id"].hex() for one in slices],
        "slice_nos": [one["slice_no"] for one in slices],
        "recipients": [one["recipients"] for one in slices],
        "messages": [one["messages"] for one in slices],
        "skip_request_ids": [one["request_id"].hex() for one in skips],
        "skip_slice_nos": [one["slice_no"] for one in skips],
        "skip_channels": [Channel(one["channel"]).bit for one in skips],
        "skip_reasons": [one["reason"] for one in skips],
        "skip_messages": [one["messages"] for one in skips],
    }


ROWS: dict[str, Callable[[str, Mapping[str, Any]], Row]] = {
    "schedule_requested": lambda _, fields: of_schedule(fields),
    "cancel_requested": lambda _, fields: {
        "request_id": fields["id"],
        "requester": fields["requester"],
    },
    "dispatch_message": lambda _, fields: of_dispatch(fields),
    "request_status": lambda _, fields: of_status(fields),
    **dict.fromkeys(LEDGER, of_ledger),
}


def decoded(value: bytes, events: tuple[str, ...]) -> tuple[str, Row]:
    """What the decoder that SAEC itself uses makes of a value. Raises RejectedError."""
    if events == REQUESTS:
        event = decode_request(value, None, len(value))
        name = REQUESTS[isinstance(event, CancelRequested)]
        written = CANONICAL[events](value)
        return name, ROWS[name](name, avro.decode_single(written, events)[1])
    reader = {MESSAGES: decode_dispatch, STATUSES: decode_status, LEDGER: decode_ledger}[events]
    reader(value)  # type: ignore[operator]
    name, fields = avro.decode_single(value, events)
    return name, ROWS[name](name, fields)


def agree(row: Row, expected: Row) -> bool:
    """The same, but for who is named twice."""
    if "content_0" in row:
        row = dict(row)
        row["content"] = b"".join(row.pop(f"content_{n}") for n in range(5))
    if "customers" in row:
        row["customers"] = list(dict.fromkeys(row["customers"]))
        expected = expected | {"customers": list(dict.fromkeys(expected["customers"]))}
        # Who leaves the lane to SAEC says what SAEC chooses.
        chosen = LANES.index("CAMPAIGN" if len(row["customers"]) > 1 else "TRANSACTIONAL")
        row, expected = ({**one, "lane": one["lane"] or chosen} for one in (row, expected))
    return row == expected


def hold_against_the_decoder(given_: list[bytes], events: tuple[str, ...]) -> None:
    """Each value is the row that the decoder makes of it, or is refused as the decoder does.

    A request or a message that is well-formed and refused for what it says may be a row as well:
    it was answered, or is compared.
    """
    found, strange = read(list(given_), events)
    for number, value in enumerate(given_):
        try:
            name, row = decoded(value, events)
        except RejectedError as error:
            reason = error.reason
            if strange.get(number) == reason:
                continue
            assert number not in strange
            assert events != LEDGER
            name, fields = avro.decode_single(value, events)
            row = ROWS[name](name, fields)
        if number in strange:  # what nobody can have counted
            assert (events, strange[number]) == (LEDGER, "invalid_avro")
            assert not _in_bounds(row)
            continue
        assert found[number][0] == name
        assert agree(found[number][1], row), (found[number][1], row)


def _in_bounds(row: Row) -> bool:
    names = ("slice_nos", "recipients", "messages", "skip_slice_nos", "skip_messages")
    return all(0 <= one < 2**31 for name in names for one in row[name])


schedules = st.builds(
    dict,
    id=values.uuids.map(str),
    requester=values.ids,
    campaign_id=st.none() | values.ids,
    channels=st.lists(st.sampled_from([one.value for one in Channel]), max_size=5),
    customers=st.lists(values.ids, max_size=4).flatmap(
        lambda ids: st.lists(st.sampled_from(ids), max_size=6) if ids else st.just(ids)
    ),
    due_at=values.instants,
    expires_at=st.none() | values.instants,
    lane=st.none() | st.sampled_from(["TRANSACTIONAL", "CAMPAIGN", "UNKNOWN"]),
    message=values.messages.map(lambda one: one.model_dump()),
)
cancels = st.builds(dict, id=values.uuids.map(str), requester=values.ids)
dispatches = st.builds(
    dict,
    message_id=values.uuids.map(str),
    customer_id=st.none() | values.ids,
    channel=st.sampled_from([*[one.value for one in Channel], "UNKNOWN"]),
    address=st.none() | values.lines,
    dispatched_at=values.instants,
    request_id=values.uuids.map(str),
    campaign_id=st.none() | values.ids,
    requester=values.ids,
    due_at=values.instants,
    expires_at=st.none() | values.instants,
    message=values.messages.map(lambda one: one.model_dump()),
)
answers = st.builds(lambda status: avro.decode_single(encode_status(status), STATUSES)[1], statuses)
batches = st.builds(lambda batch: avro.decode_single(encode_ledger(batch), LEDGER)[1], committed)
EVENTS = {
    "schedule_requested": (REQUESTS, schedules),
    "cancel_requested": (REQUESTS, cancels),
    "dispatch_message": (MESSAGES, dispatches),
    "request_status": (STATUSES, answers),
    "batch_committed": (LEDGER, batches),
}
BYTES = {
    REQUESTS: schedules.map(lambda one: avro.encode_single("schedule_requested", one))
    | cancels.map(lambda one: avro.encode_single("cancel_requested", one)),
    MESSAGES: dispatches.map(lambda one: avro.encode_single("dispatch_message", one)),
    STATUSES: statuses.map(encode_status),
    LEDGER: ledger_records.map(encode_ledger),
}
TOPICS = pytest.mark.parametrize("events", BYTES, ids=lambda events: events[0])


@TOPICS
@given(data=st.data())
def test_what_is_written_today(events: tuple[str, ...], data: st.DataObject) -> None:
    hold_against_the_decoder(data.draw(st.lists(BYTES[events], max_size=6)), events)


@TOPICS
@given(data=st.data())
def test_whatever_is_spoiled(events: tuple[str, ...], data: st.DataObject) -> None:
    some = st.lists(spoiled(BYTES[events]) | BYTES[events], min_size=1, max_size=6)
    hold_against_the_decoder(data.draw(some), events)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("overlong", [False, True])
@given(data=st.data())
def test_the_same_in_another_form(
    event: str, data: st.DataObject, *, sized: bool, overlong: bool
) -> None:
    """As another encoder may write it, beside as ours does."""
    events, records = EVENTS[event]
    some = data.draw(st.lists(records, min_size=1, max_size=4))
    other = [awkward(event, one, sized=sized, overlong=overlong) for one in some]
    hold_against_the_decoder([*other, *(avro.encode_single(event, one) for one in some)], events)


@TOPICS
@given(some=st.lists(st.none() | st.binary(max_size=60), max_size=6))
def test_what_is_none_of_it(events: tuple[str, ...], some: list[bytes | None]) -> None:
    hold_against_the_decoder([one or b"" for one in some], events)
    assert read(some, events)[1].keys() <= set(range(len(some)))


@given(st.lists(schedules, min_size=1, max_size=3))
def test_a_request_in_json_is_the_row_of_the_same_in_avro(some: list[dict[str, Any]]) -> None:
    given_: list[bytes] = []
    for one in some:
        text = {**one["message"], "body": None, "body_base64": _base64(one["message"]["body"])}
        message = {name: part for name, part in text.items() if part is not None}
        given_.append(
            json.dumps({"type": "saec.v1.ScheduleRequested", **one, "message": message}).encode()
        )
    hold_against_the_decoder(given_, REQUESTS)


def _base64(raw: bytes) -> str:
    import base64  # noqa: PLC0415

    return base64.b64encode(raw).decode()


@given(dispatches)
def test_a_request_and_its_message_have_the_same_content(fields: dict[str, Any]) -> None:
    """That is what tells an altered message."""
    request = {
        "id": fields["request_id"],
        "channels": [],
        "customers": [],
        "lane": None,
        **{name: fields[name] for name in ("requester", "campaign_id", "due_at", "expires_at")},
        "message": fields["message"],
    }
    asked, _ = read([avro.encode_single("schedule_requested", request)], REQUESTS)
    sent, _ = read([avro.encode_single("dispatch_message", {**fields, "channel": "SMS"})], MESSAGES)
    parts = b"".join(asked[0][1][f"content_{n}"] for n in range(5))
    assert parts == sent[0][1]["content"]


# What columns read by hand (saec/audit/records.py) is tied to. Whoever changes a schema changes
# the reader of that event, and then the fingerprint here.
FINGERPRINTS = {
    "batch_committed": "45772954d5434302",
    "batch_opened": "ac4256e6baf6f57f",
    "cancel_requested": "a3439e5fea217d54",
    "dispatch_message": "6b673dae24e3db70",
    "request_status": "1f7ea4bfb7c587ed",
    "schedule_requested": "489e6abc7e2f5558",
    "shard_taken": "db9fbf61513449dc",
}


@pytest.mark.parametrize("event", FINGERPRINTS)
def test_the_columns_are_those_of_the_schema(event: str) -> None:
    assert avro.schema_fingerprint(avro.load(event)).hex() == FINGERPRINTS[event]
