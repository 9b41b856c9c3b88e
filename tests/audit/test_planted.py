"""Each kind of disagreement, planted in what really happened, is found: it, and no other."""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from saec.audit import Kind
from saec.contracts import avro
from saec.contracts.events import Channel
from saec.contracts.ledger import BatchCommitted, BatchOpened, SliceDispatched, encode_ledger
from saec.contracts.status import RequestStatus, Status, encode_status
from saec.store.shards import shard_of
from tests.audit.conftest import Told
from tests.audit.history import LEDGER, REQUESTS, ROLES, STATUS, History, Record, message_id
from tests.audit.judge import LATE_MS, Expected, Judge, agrees

EMAIL, SMS, WHATSAPP, PUSH = Channel
Ids = dict[str, uuid.UUID]
Plant = Callable[[History, Ids], list[Expected]]
PLANTS: dict[str, Plant] = {}


def plant(function: Plant) -> Plant:
    """One of those that are planted."""
    PLANTS[function.__name__.replace("_", " ")] = function
    return function


def missing(h: History, id_: uuid.UUID, channel: Channel, *customers: str | None) -> list[Expected]:
    return [
        Expected(Kind.MISSING, 1, (h.request(id_),), id_, channel, customer)
        for customer in customers
    ]


def about(kind: Kind, message: Record, *records: Record) -> list[Expected]:
    """A finding about one message, as it is keyed."""
    fields = message.fields()
    id_ = uuid.UUID(fields["request_id"])
    channel = Channel(fields["channel"])
    return [Expected(kind, 1, records or (message,), id_, channel, fields["customer_id"])]


def in_order(*records: Record) -> tuple[Record, ...]:
    """By partition and offset, once they are written."""
    return tuple(sorted(records, key=lambda one: (one.partition, one.at < 0, one.at)))


@plant
def a_message_is_missing(h: History, ids: Ids) -> list[Expected]:
    h.drop(h.message(ids["campaign"], EMAIL, "p3"))
    return missing(h, ids["campaign"], EMAIL, "p3")


@plant
def a_push_is_missing(h: History, ids: Ids) -> list[Expected]:
    h.drop(h.message(ids["push"], PUSH))
    return missing(h, ids["push"], PUSH, None)


@plant
def a_slice_is_missing_that_the_ledger_has(h: History, ids: Ids) -> list[Expected]:
    h.drop(*h.messages(ids["campaign"], EMAIL, "p3", "p4"))
    return missing(h, ids["campaign"], EMAIL, "p3", "p4")


@plant
def a_slice_is_missing_everywhere(h: History, ids: Ids) -> list[Expected]:
    h.drop(*h.messages(ids["campaign"], EMAIL, "p3", "p4"))
    h.forget(ids["campaign"], 1)
    return missing(h, ids["campaign"], EMAIL, "p3", "p4")


@plant
def a_request_is_missing(h: History, ids: Ids) -> list[Expected]:
    h.drop(*h.messages(ids["twice named"]))
    h.forget(ids["twice named"])
    id_ = ids["twice named"]
    return missing(h, id_, SMS, "p1", "p2", "p3") + missing(h, id_, PUSH, None)


@plant
def a_message_is_missing_beside_skipped_ones(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["skips"]
    h.drop(h.message(id_, EMAIL, "no phone"))
    (batch,) = [one for one in h.batches(id_) if has_slice(one, id_, 1)]
    return [Expected(Kind.MISSING, 1, (h.request(id_), batch), id_, EMAIL)]


@plant
def a_message_is_missing_beside_stopped_ones(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["stopped midway"]
    h.drop(h.message(id_, SMS, "p2"))
    return missing(h, id_, SMS, "p2")


def has_slice(record: Record, id_: uuid.UUID, number: int) -> bool:
    batch = record.ledger()
    assert isinstance(batch, BatchCommitted)
    return any((one.request_id, one.slice_no) == (id_, number) for one in batch.slices)


@plant
def a_message_is_there_twice(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    return about(Kind.DUPLICATE, one, one, h.add(one))


@plant
def a_message_is_there_twice_in_two_partitions(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    other = h.add(one, partition=1 - one.partition, stamp_ms=one.stamp_ms + 1)
    return about(Kind.DUPLICATE, one, one, other)


@plant
def a_push_is_there_three_times(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["push"], PUSH)
    more = h.add(one), h.add(one)
    return [replace(about(Kind.DUPLICATE, one, one, *more)[0], messages=2)]


@plant
def early_by_its_stamp(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["single"], EMAIL)
    one.stamp_ms = one.fields()["due_at"] - 1
    return about(Kind.EARLY, one)


@plant
def early_by_what_it_says(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["single"], EMAIL)
    one.change(dispatched_at=one.fields()["due_at"] - 1)
    return about(Kind.EARLY, one)


@plant
def early_by_the_ledger_alone(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["dispatched first"]
    (batch,) = h.batches(id_)
    due_ms = h.message(id_, EMAIL).fields()["due_at"]
    batch.value = encode_ledger(replace(batch.ledger(), dispatched_at_ms=due_ms - 1))  # type: ignore[call-arg]
    return [Expected(Kind.EARLY, 1, (h.request(id_), batch), id_, EMAIL)]


@plant
def late(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["single"], EMAIL)
    one.change(dispatched_at=h.request(ids["single"]).stamp_ms + LATE_MS + 1)
    return about(Kind.LATE, one)


@plant
def just_not_late(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["single"], EMAIL)
    one.change(dispatched_at=h.request(ids["single"]).stamp_ms + LATE_MS)
    return []


@plant
def after_its_expiry(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["in time"], EMAIL)
    one.change(dispatched_at=one.fields()["expires_at"])
    return about(Kind.AFTER_EXPIRY, one) + about(Kind.LATE, one)


@plant
def expired_and_sent(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["expired"]
    one = h.made(id_, EMAIL, "p3")
    one.change(dispatched_at=one.fields()["expires_at"])
    (batch,) = [record for record in h.batches(id_) if has_slice(record, id_, 1)]
    skipped = Expected(Kind.SKIPPED_BUT_SENT, 1, (h.request(id_), batch), id_, EMAIL)
    return [*about(Kind.AFTER_EXPIRY, one), skipped]


@plant
def skipped_and_sent(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["skips"]
    h.made(id_, EMAIL, "opted out")
    (batch,) = [record for record in h.batches(id_) if has_slice(record, id_, 0)]
    return [Expected(Kind.SKIPPED_BUT_SENT, 1, (h.request(id_), batch), id_, EMAIL)]


@plant
def stopped_and_sent(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["stopped"]
    one = h.made(id_, EMAIL, "p5")
    return [Expected(Kind.STOPPED_BUT_SENT, 1, (h.request(id_), one), id_, EMAIL)]


@plant
def stopped_and_dispatched_in_order(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["stopped"]
    sent = h.made(id_, EMAIL, "p1"), h.made(id_, EMAIL, "p2")
    batch = h.lead(shard_of(id_, h.shards), SliceDispatched(id_, 0, 2, 2))
    told = batch.ledger()
    assert isinstance(told, BatchCommitted)
    due_ms = sent[0].fields()["due_at"]
    early = Expected(Kind.EARLY, 2, (h.request(id_), batch), id_, EMAIL)
    assert told.dispatched_at_ms < due_ms
    stopped = Expected(Kind.STOPPED_BUT_SENT, 2, (h.request(id_), *sent), id_, EMAIL)
    return [early, stopped]


@plant
def stopped_midway_and_sent(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["stopped midway"]
    due_ms = h.message(id_, SMS, "p2").fields()["due_at"]
    # The last slice: however many had left, this one was stopped.
    one = h.made(id_, PUSH, None, dispatched_at=max(h.request(id_).stamp_ms, due_ms))
    return [Expected(Kind.STOPPED_BUT_SENT, 1, (h.request(id_), one), id_, PUSH)]


@plant
def nobody_asked(h: History, ids: Ids) -> list[Expected]:
    id_, fields = uuid.uuid4(), h.message(ids["single"], EMAIL).fields()
    fields |= {"request_id": str(id_), "message_id": message_id(id_, EMAIL, "p1")}
    one = h.sent(EMAIL, fields)
    return [Expected(Kind.UNREQUESTED, 1, (one,), id_, EMAIL)]


@plant
def a_customer_who_was_not_asked_for(h: History, ids: Ids) -> list[Expected]:
    one = h.made(ids["campaign"], EMAIL, "p9")
    return [Expected(Kind.UNREQUESTED, 1, (one,), ids["campaign"], EMAIL)]


@plant
def a_channel_that_was_not_asked_for(h: History, ids: Ids) -> list[Expected]:
    one = h.made(ids["campaign"], PUSH, None)
    return [Expected(Kind.UNREQUESTED, 1, (one,), ids["campaign"], PUSH)]


@plant
def refused_and_sent(h: History, ids: Ids) -> list[Expected]:
    one = h.made(ids["in the past"], EMAIL, "p1")
    return [Expected(Kind.UNREQUESTED, 1, (one,), ids["in the past"], EMAIL)]


@plant
def an_id_that_is_none(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["single"], EMAIL)
    one.change(message_id=one.fields()["message_id"].upper())
    return [
        Expected(Kind.UNREQUESTED, 1, (one,), ids["single"], EMAIL),
        *missing(h, ids["single"], EMAIL, "p1"),
    ]


@plant
def the_ledger_alone_has_a_request(h: History, ids: Ids) -> list[Expected]:
    id_ = uuid.uuid4()
    batch = h.lead(shard_of(id_, h.shards), SliceDispatched(id_, 0, 3, 2))
    return [Expected(Kind.UNREQUESTED, 2, (batch,), id_)]


MESSAGE = {"subject": None, "body": b"", "content_type": "text/plain", "attributes": {}}
ALTERED: dict[str, dict[str, Any]] = {
    "body": {"message": MESSAGE | {"body": b"Ol\xc3\xa0"}},
    "subject": {"message": MESSAGE | {"subject": "x", "body": "Olá".encode()}},
    "attributes": {"message": MESSAGE | {"attributes": {"a": "b"}, "body": "Olá".encode()}},
    "requester": {"requester": "another"},
    "campaign": {"campaign_id": None},
    "due_at": {"due_at": 1_800_000_000_000},
    "expires_at": {"expires_at": 1_900_000_000_000},
    "address": {"address": None},
    "customer": {"customer_id": "p4"},
    "channel": {"channel": "SMS"},
    "request": {"request_id": str(uuid.uuid4())},
}


def altered(changes: dict[str, Any]) -> Plant:
    def plant_it(h: History, ids: Ids) -> list[Expected]:
        one = h.message(ids["campaign"], EMAIL, "p3")
        one.change(**changes)
        return [Expected(Kind.ALTERED, 1, (one,), ids["campaign"], EMAIL, "p3")]

    return plant_it


PLANTS |= {f"altered: {name}": altered(changes) for name, changes in ALTERED.items()}


@plant
def altered_and_keyed_accordingly(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    one.change(customer_id="p4")
    one.key = b"p4"
    return [Expected(Kind.ALTERED, 1, (one,), ids["campaign"], EMAIL, "p3")]


@plant
def what_another_request_says(h: History, ids: Ids) -> list[Expected]:
    one, other = h.message(ids["campaign"], EMAIL, "p1"), h.message(ids["single"], EMAIL)
    one.value = avro.encode_single(
        "dispatch_message", other.fields() | {"message_id": one.fields()["message_id"]}
    )
    return [Expected(Kind.ALTERED, 1, (one,), ids["campaign"], EMAIL, "p1")]


@plant
def another_key(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    one.key = b"p4"
    return about(Kind.ALTERED, one)


@plant
def no_key(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    one.key = None
    return about(Kind.ALTERED, one)


@plant
def in_another_channels_topic(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    h.drop(one)
    h.records[SMS].append(one)
    one.role = SMS
    return about(Kind.ALTERED, one)


@plant
def a_slice_is_not_in_the_ledger(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["campaign"]
    h.forget(id_, 1)
    sent = in_order(*h.messages(id_, EMAIL, "p3", "p4"))
    return [Expected(Kind.UNRECORDED, 2, (h.request(id_), *sent), id_, EMAIL)]


@plant
def the_first_slice_is_not_in_the_ledger(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["campaign"]
    h.forget(id_, 0)
    sent = in_order(*h.messages(id_, EMAIL, "p1", "p2"))
    return [Expected(Kind.UNRECORDED, 2, (h.request(id_), *sent), id_, EMAIL)]


@plant
def a_request_is_not_in_the_ledger(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["twice named"]
    h.forget(id_)
    sent = in_order(*h.messages(id_, SMS))
    return [
        Expected(Kind.UNRECORDED, 3, (h.request(id_), *sent), id_, SMS),
        Expected(Kind.UNRECORDED, 1, (h.request(id_), h.message(id_, PUSH)), id_, PUSH),
    ]


@plant
def a_slice_is_in_the_ledger_twice(h: History, ids: Ids) -> list[Expected]:
    batch = h.lead(shard_of(ids["campaign"], h.shards), SliceDispatched(ids["campaign"], 1, 2, 2))
    return [Expected(Kind.BROKEN_LEDGER, 2, (batch,), ids["campaign"])]


@plant
def a_batch_is_in_the_ledger_twice(h: History, ids: Ids) -> list[Expected]:
    """With what it skipped."""
    id_ = ids["expired"]
    batch = next(one for one in h.batches(id_) if has_slice(one, id_, 0))
    told = batch.ledger()
    assert isinstance(told, BatchCommitted)
    last = max(
        one.ledger().batch_no  # type: ignore[union-attr]
        for one in h.records[LEDGER]
        if one.partition == batch.partition
    )
    more = h.add(batch, value=encode_ledger(replace(told, batch_no=last + 1)))
    return [
        Expected(Kind.BROKEN_LEDGER, one.messages, (more,), one.request_id) for one in told.slices
    ]


@plant
def a_number_is_left_out_in_the_ledger(h: History, ids: Ids) -> list[Expected]:
    batches = [one for one in h.records[LEDGER] if isinstance(one.ledger(), BatchCommitted)]
    (busiest, count), *_ = Counter(one.partition for one in batches).most_common(1)
    assert count > 1
    batch = h.lead(busiest)
    opening = h.opening(batch)
    for one in (opening, batch):
        told = one.ledger()
        assert isinstance(told, BatchOpened | BatchCommitted)
        one.value = encode_ledger(replace(told, batch_no=told.batch_no + 1))
    return [Expected(Kind.BROKEN_LEDGER, 0, (batch,))]


@plant
def a_batch_does_not_end(h: History, ids: Ids) -> list[Expected]:
    opened = h.insert(LEDGER, encode_ledger(BatchOpened(0, 99, "me", 1)))
    return [Expected(Kind.BROKEN_LEDGER, 0, (opened,))]


def unanswered(name: str, nth: int = 0) -> Plant:
    def plant_it(h: History, ids: Ids) -> list[Expected]:
        source = h.request(ids[name], nth)
        h.drop(h.answer(source))
        return [Expected(Kind.UNANSWERED, 0, (source,), ids[name])]

    return plant_it


PLANTS["unanswered, and dispatched"] = unanswered("campaign")
PLANTS["unanswered, and refused"] = unanswered("in the past")
PLANTS["unanswered, and pending"] = unanswered("pending")
PLANTS["an unanswered cancel"] = unanswered("single", 1)


@plant
def unanswered_and_no_event(h: History, ids: Ids) -> list[Expected]:
    (source,) = [one for one in h.records[REQUESTS] if one.value == b"{"]
    h.drop(h.answer(source))
    return [Expected(Kind.UNANSWERED, 0, (source,))]


@plant
def answered_twice(h: History, ids: Ids) -> list[Expected]:
    source = h.request(ids["campaign"])
    h.add(h.answer(source))
    return [Expected(Kind.ANSWERED_TWICE, 0, (source,), ids["campaign"])]


@plant
def a_cancel_is_unheard(h: History, ids: Ids) -> list[Expected]:
    id_ = ids["apart"]
    h.drop(h.late(id_))
    return [Expected(Kind.UNHEARD, 0, (h.request(id_, 1), h.request(id_)), id_)]


@plant
def a_cancel_is_answered_twice_more(h: History, ids: Ids) -> list[Expected]:
    h.add(h.late(ids["apart"]))
    return [Expected(Kind.ANSWERED_TWICE, 0, (h.request(ids["apart"], 1),), ids["apart"])]


@plant
def a_cancel_has_only_its_second_answer(h: History, ids: Ids) -> list[Expected]:
    stop = h.request(ids["apart"], 1)
    h.drop(h.answer(stop))
    return [Expected(Kind.UNANSWERED, 0, (stop,), ids["apart"])]


def answers_nothing(place: str) -> Plant:
    def plant_it(h: History, ids: Ids) -> list[Expected]:
        id_ = uuid.uuid4()
        answer = h.insert(STATUS, encode_status(RequestStatus(str(id_), Status.DUPLICATE, 0)))
        answer.headers = [("ce_id", f"x.requests/{place}".encode())]
        return [Expected(Kind.ANSWER_TO_NOTHING, 0, (answer,), id_)]

    return plant_it


PLANTS["an answer to nothing"] = answers_nothing("0/12345")
PLANTS["an answer to no partition"] = answers_nothing("77/0")


def of_another_event(role: str) -> bytes:
    if role == STATUS:
        return encode_ledger(BatchOpened(0, 1, "me", 1))
    return encode_status(RequestStatus(None, Status.ACCEPTED, 0))


FOREIGN: dict[str, Callable[[str], bytes | None]] = {
    "garbage": lambda _: b"\x00\xffgarbage",
    "JSON": lambda _: b'{"type":"saec.v1.CustomerErased"}',
    "nothing": lambda _: None,
    "empty": lambda _: b"",
    "an unknown schema": lambda _: avro.MARKER + b"12345678" + bytes(20),
    "another event": of_another_event,
}


def foreign(role: str, value: Callable[[str], bytes | None]) -> Plant:
    """In saec.requests it is refused, and so to be answered."""

    def plant_it(h: History, ids: Ids) -> list[Expected]:
        kind = Kind.UNANSWERED if role == REQUESTS else Kind.FOREIGN
        return [Expected(kind, 0, (h.insert(role, value(role), partition=1),))]

    return plant_it


def all_foreign(role: str) -> Plant:
    def plant_it(h: History, ids: Ids) -> list[Expected]:
        return [one for value in FOREIGN.values() for one in foreign(role, value)(h, ids)]

    return plant_it


PLANTS |= {f"foreign records in {role}": all_foreign(role) for role in ROLES}


@plant
def a_batch_of_impossible_numbers(h: History, ids: Ids) -> list[Expected]:
    made = [
        {"slice_no": 2**40, "recipients": 1, "messages": 1},
        {"slice_no": 0, "recipients": -1, "messages": 1},
    ]
    batch = {"shard": 0, "batch_no": 2**63 - 1, "owner": "", "epoch": 0, "dispatched_at": 0}
    return [Expected(Kind.FOREIGN, 0, (h.insert(LEDGER, _batch(batch, one)),)) for one in made]


def _batch(batch: dict[str, Any], slice_: dict[str, Any]) -> bytes:
    from saec.contracts import varint  # noqa: PLC0415 - fastavro writes no such number

    numbers = [varint.long(slice_[name]) for name in ("slice_no", "recipients", "messages")]
    whole = avro.encode_single("batch_committed", {**batch, "slices": [], "skips": []})
    return whole[:-2] + varint.long(1) + bytes(16) + b"".join(numbers) + b"\x00\x00"


@plant
def instants_beyond_all_bounds(h: History, ids: Ids) -> list[Expected]:
    one = h.message(ids["campaign"], EMAIL, "p3")
    one.change(dispatched_at=-(2**63))
    id_, fields = uuid.uuid4(), one.fields()
    fields |= {"request_id": str(id_), "message_id": message_id(id_, EMAIL, "p3")}
    unknown = h.sent(EMAIL, fields | {"dispatched_at": 0, "due_at": 2**63 - 1})
    return [*about(Kind.EARLY, one), Expected(Kind.UNREQUESTED, 1, (unknown,), id_, EMAIL)]


@plant
def an_answer_with_a_place_beyond_all_bounds(h: History, ids: Ids) -> list[Expected]:
    status = RequestStatus(None, Status.CANCELLED, 0, counts={"messages_stopped": 2**63 - 1})
    for place in ("1" * 30 + "/0", "0/" + "9" * 30, "0/" + "1" * 5_000, "٣/٣"):
        answer = h.insert(STATUS, encode_status(status))
        answer.headers = [("ce_id", f"x.requests/{place}".encode())]
    return []


# Those that do not plant in the same record.
TOGETHER = [
    "a push is there three times",
    "a request is missing",
    "late",
    "after its expiry",
    "skipped and sent",
    "stopped midway and sent",
    "nobody asked",
    "refused and sent",
    "altered: body",
    "the ledger alone has a request",
    "a number is left out in the ledger",
    "a batch does not end",
    "unanswered, and refused",
    "an unanswered cancel",
    "unanswered and no event",
    "an answer to nothing",
    *(f"foreign records in {role}" for role in ROLES),
]


def test_all_of_it_together(told: Told, judge: Judge) -> None:
    history = told.history.copy()
    expected = [one for name in TOGETHER for one in PLANTS[name](history, told.story.ids)]
    with history.written(told.story.settings.bootstrap_servers) as settings:
        agrees(judge(settings), expected)


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(name: str, told: Told, judge: Judge) -> None:
    history = told.history.copy()
    expected = PLANTS[name](history, told.story.ids)
    with history.written(told.story.settings.bootstrap_servers) as settings:
        agrees(judge(settings), expected)
