"""SAEC's events as rows of columns: what the audit needs of each, and nothing personal but ids.

What is not written as SAEC writes it today (JSON, an older release, another encoder) is brought
into that form by the general decoder first. Invariant: a record becomes a row, or is named as
unreadable with its reason; never an error, never left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from saec.audit import columns
from saec.audit.columns import Cursor, Records
from saec.contracts import avro
from saec.contracts.events import Channel, Lane
from saec.contracts.rejected import RejectedError
from saec.contracts.status import Status
from saec.errors import Reason

Columns = Mapping[str, pa.Array]
Rows = NDArray[np.intp]
Canonical = Callable[[int], bytes]
"""The value of a row, as SAEC writes it today. Raises RejectedError."""

_REQUEST_ID_BYTES = 16
_MOST = 2**31 - 1
_UNKNOWN = 1 << len(Channel)
_REASONS = frozenset(Reason)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no event of its topic: which row, and why (a reason code)."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one event; the column `row` says which record each came from.

    Where rows share much of what they say, that is in `shared`, and the column `content` says
    which of its rows is theirs.
    """

    event: str
    rows: pa.Table
    shared: pa.Table | None = None


def read_pages(
    values: Sequence[bytes | None], events: Sequence[str], canonical: Canonical
) -> tuple[list[Page], list[Unreadable]]:
    """Those of these events that stand in the values, by kind, and what is none of them."""
    pages, left = _read(values, np.arange(len(values)), events)
    unreadable: list[Unreadable] = []
    again: list[bytes] = []
    rows: list[int] = []
    for row in left:
        try:
            again.append(canonical(row))
            rows.append(row)
        except RejectedError as error:
            unreadable.append(Unreadable(row, error.reason.value))
    if again:
        more, strange = _read(again, np.array(rows), events)
        pages += more
        unreadable += [Unreadable(row, Reason.INVALID_AVRO.value) for row in strange]
    return pages, unreadable


def _read(
    values: Sequence[bytes | None], rows: Rows, events: Sequence[str]
) -> tuple[list[Page], list[int]]:
    """What is plain, by event; and the rows of what is not."""
    cursor, pages = Cursor(values), []
    left = np.ones(len(values), np.bool_)
    for event in events:
        which = cursor.starting_with(avro.prefix(event))
        if which.size:
            chosen = cursor.pick(which)
            page = _page(event, chosen, rows[which])
            if not chosen.plain.all():
                which = which[chosen.plain]
                page = _page(event, cursor.pick(which), rows[which])
            pages.append(page)
            left[which] = False
    return pages, rows[left].tolist()


def _page(event: str, cursor: Cursor, rows: Rows) -> Page:
    """What these values say; of those that are not plain it means nothing."""
    cursor.fixed(avro.PREFIX_BYTES)
    if event == "dispatch_message":
        found, common = _dispatch(cursor)
        shared = pa.table(common)
    else:
        found, shared = _READERS[event](cursor), None
    table = pa.table({"row": pa.array(rows.astype(np.int32)), **found})
    return Page(event, table, shared)


def _schedule(cursor: Cursor) -> Columns:
    """A request. What makes up its `content` is what each of its messages ends with."""
    start = cursor.place()
    request_id = cursor.text()
    parts = [cursor.since(start)]
    start = cursor.place()
    requester = cursor.text()
    of_requester = cursor.since(start)
    start = cursor.place()
    campaign = cursor.optional_text()
    parts += cursor.since(start), of_requester
    channels = cursor.choices(_bits("schedule_requested"))
    cursor.plain &= channels < _UNKNOWN
    customers = cursor.texts()
    start = cursor.place()
    due = cursor.number()
    expires = cursor.optional_number()
    parts.append(cursor.since(start))
    lane = _lane(cursor)
    start = cursor.place()
    attributes = _message(cursor)
    parts.append(cursor.since(start))
    cursor.finish()
    content = {f"content_{n}": columns.octets(cursor, part) for n, part in enumerate(parts)}
    return {
        "request_id": columns.texts(cursor, request_id),
        "requester": columns.texts(cursor, requester),
        "campaign_id": columns.texts(cursor, campaign),
        "channels": columns.numbers(channels),
        "customers": columns.text_lists(cursor, customers),
        "due_ms": columns.numbers(due),
        "expires_ms": columns.numbers(*expires),
        "lane": columns.numbers(*lane),
        "attributes": columns.numbers(attributes),
        **content,
    }


def _lane(cursor: Cursor) -> tuple[columns.Longs, columns.Flags]:
    """As the schema numbers it, and where there is none."""
    lane, absent = cursor.optional_number()
    cursor.plain &= absent | np.isin(lane, _lanes())
    return lane, absent


def _message(cursor: Cursor) -> columns.Longs:
    """Read for its form only: it is compared as bytes. Returns how many attributes it has."""
    subject, _body, type_ = cursor.optional_text(), cursor.text(), cursor.text()
    attributes = cursor.texts_by_text()
    columns.texts(cursor, subject)
    columns.texts(cursor, type_)
    columns.text_lists(cursor, attributes)
    return np.diff(attributes.offsets) // 2


def _cancel(cursor: Cursor) -> Columns:
    request_id, requester = cursor.text(), cursor.text()
    cursor.finish()
    return {
        "request_id": columns.texts(cursor, request_id),
        "requester": columns.texts(cursor, requester),
    }


def _dispatch(cursor: Cursor) -> tuple[Columns, Columns]:
    """A message. From the request's id to its end it is its request's `content`.

    A slice's messages share their content, so it is read once, and they only say which it is.
    """
    message_id, customer = cursor.text(), cursor.optional_text()
    channel, address = cursor.number(), cursor.optional_text()
    dispatched = cursor.number()
    contents = pc.dictionary_encode(columns.octets(cursor, cursor.rest()))
    content = contents.indices.to_numpy()
    first = cursor.pick(np.unique(content, return_index=True)[1])
    shared = _content(first, contents.dictionary)
    cursor.plain &= first.plain[content]
    bits = np.array(_bits("dispatch_message"))
    known = (channel >= 0) & (channel < len(bits))
    cursor.plain &= known & (bits[np.where(known, channel, 0)] < _UNKNOWN)
    columns.texts(cursor, address)
    ids = columns.uuids(cursor, message_id)
    if ids.null_count:
        columns.texts(cursor, message_id)  # which is a text all the same
    rows = {
        "message_id": ids,
        "customer_id": columns.texts(cursor, customer),
        "channel": columns.numbers(bits[np.where(known, channel, 0)]),
        "addressed": pa.array(address.size >= 0),
        "dispatched_ms": columns.numbers(dispatched),
        "content": contents.indices,
    }
    return rows, shared


def _content(cursor: Cursor, content: pa.Array) -> Columns:
    """What is the same in all messages of a slice."""
    request_id, campaign = cursor.text(), cursor.optional_text()
    requester, due = cursor.text(), cursor.number()
    cursor.optional_number()  # the expiry
    _message(cursor)
    cursor.finish()
    return {
        "content": content,
        "request_id": columns.texts(cursor, request_id),
        "campaign_id": columns.texts(cursor, campaign),
        "requester": columns.texts(cursor, requester),
        "due_ms": columns.numbers(due),
    }


def _status(cursor: Cursor) -> Columns:
    """An answer; of its counts, what a cancel stopped."""
    request_id, customer_id = cursor.optional_text(), cursor.optional_text()
    status, reason = cursor.number(), cursor.optional_text()
    counts = cursor.numbers_by_text()
    detail = cursor.optional_text()
    cursor.number()  # the instant
    cursor.finish()
    for unused in (customer_id, reason, detail):
        columns.texts(cursor, unused)
    names = [symbol if symbol in Status.__members__ else None for symbol in _symbols()]
    known = [names[n] if 0 <= n < len(names) else None for n in status.tolist()]
    cursor.plain &= np.fromiter((name is not None for name in known), np.bool_, len(known))
    return {
        "request_id": columns.texts(cursor, request_id),
        "of_customer": pa.array(customer_id.size >= 0),
        "status": pa.array(known, pa.string()),
        "reason": columns.texts(cursor, reason),
        "stopped": pa.array([one.get(b"messages_stopped") for one in counts], pa.int64()),
        "people_stopped": pa.array([one.get(b"recipients_stopped") for one in counts], pa.int64()),
    }


def _taken(cursor: Cursor) -> Columns:
    """The sentinel of a takeover: nothing is dispatched by it."""
    cursor.number()
    owner = cursor.text()
    epoch = cursor.number()
    cursor.fixed(_REQUEST_ID_BYTES)
    batch_no = cursor.number()
    cursor.number()
    cursor.finish()
    columns.texts(cursor, owner)
    return {"epoch": columns.numbers(epoch), "batch_no": columns.numbers(batch_no)}


def _opened(cursor: Cursor) -> Columns:
    cursor.number()
    batch_no = cursor.number()
    owner = cursor.text()
    epoch = cursor.number()
    cursor.finish()
    columns.texts(cursor, owner)
    return {"epoch": columns.numbers(epoch), "batch_no": columns.numbers(batch_no)}


def _committed(cursor: Cursor) -> Columns:
    """A batch with its slices and skips, as parallel lists."""
    cursor.number()
    batch_no = cursor.number()
    owner = cursor.text()
    epoch, dispatched = cursor.number(), cursor.number()
    number, text = columns.number, columns.text
    slices = cursor.records(_REQUEST_ID_BYTES, (number, number, number))
    skips = cursor.records(_REQUEST_ID_BYTES, (number, number, text, number))
    cursor.finish()
    columns.texts(cursor, owner)
    bits = dict(enumerate(_bits("batch_committed")))
    slice_nos, places, reasons, messages = skips.fields
    channels = [bits.get(place, _UNKNOWN) for place in places]
    _keep(cursor, slices, map(_are_counts, *slices.fields))
    _keep(cursor, skips, map(_is_skip, slice_nos, channels, reasons, messages))
    return {
        "epoch": columns.numbers(epoch),
        "batch_no": columns.numbers(batch_no),
        "dispatched_ms": columns.numbers(dispatched),
        "request_ids": _lists(slices, slices.keys, pa.string()),
        "slice_nos": _lists(slices, slices.fields[0], pa.int64()),
        "recipients": _lists(slices, slices.fields[1], pa.int64()),
        "messages": _lists(slices, slices.fields[2], pa.int64()),
        "skip_request_ids": _lists(skips, skips.keys, pa.string()),
        "skip_slice_nos": _lists(skips, slice_nos, pa.int64()),
        "skip_channels": _lists(skips, channels, pa.int64()),
        "skip_reasons": _lists(skips, reasons, pa.string()),
        "skip_messages": _lists(skips, messages, pa.int64()),
    }


def _keep(cursor: Cursor, rows: Records, good: Iterable[bool]) -> None:
    """Whose rows are not all good, is not plain."""
    bad = ~np.fromiter(good, np.bool_, len(rows.keys))
    cursor.plain[np.repeat(np.arange(len(rows.counts)), rows.counts)[bad]] = False


def _are_counts(*numbers: int) -> bool:
    """What an int of Avro may be, and counts something."""
    return all(0 <= number <= _MOST for number in numbers)


def _is_skip(slice_no: int, channel: int, reason: str, messages: int) -> bool:
    return _are_counts(slice_no, messages) and channel < _UNKNOWN and reason in _REASONS


def _lists(rows: Records, values: list[Any], type_: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(rows.counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, type_))


@cache
def _bits(event: str) -> list[int]:
    """Of each symbol of an event's enum of channels, its bit; for UNKNOWN, one of no channel."""
    known = Channel.__members__
    symbols = _channel_of(event)["symbols"]
    return [Channel(name).bit if name in known else _UNKNOWN for name in symbols]


def _channel_of(event: str) -> Any:
    fields = {field["name"]: field["type"] for field in avro.load(event)["fields"]}
    if "channels" in fields:
        return fields["channels"]["items"]
    if "channel" in fields:
        return fields["channel"]
    of_skip = fields["skips"]["items"]["fields"]
    return next(field["type"] for field in of_skip if field["name"] == "channel")


@cache
def _lanes() -> list[int]:
    """The indices of the lanes in the schema's enum."""
    fields = {field["name"]: field["type"] for field in avro.load("schedule_requested")["fields"]}
    return [fields["lane"][1]["symbols"].index(lane.value) for lane in Lane]


@cache
def _symbols() -> list[str]:
    """The statuses, in the order of the schema."""
    fields = {field["name"]: field["type"] for field in avro.load("request_status")["fields"]}
    return list(fields["status"]["symbols"])


_READERS: Mapping[str, Callable[[Cursor], Columns]] = {
    "schedule_requested": _schedule,
    "cancel_requested": _cancel,
    "request_status": _status,
    "shard_taken": _taken,
    "batch_opened": _opened,
    "batch_committed": _committed,
}
