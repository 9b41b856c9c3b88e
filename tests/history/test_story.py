"""The story of requests that took every way, on real parts."""

from collections.abc import Callable
from uuid import uuid4

from saec.contracts.events import Channel
from saec.history.events import Answered, Asked, CancelAsked, Dispatched, Pending
from saec.kafka import stretches
from saec.kafka.stretches import Stretch
from saec.store.shards import shard_of
from tests.dispatch.test_worker import drive
from tests.history.kit import (
    Told,
    messages,
    names,
    remarks,
    skips,
    slices,
    some,
    statuses,
    waiting,
)

MakeTold = Callable[..., Told]
HOUR_MS = 3_600_000
ALL = ["EMAIL", "SMS", "WHATSAPP", "PUSH"]


def test_a_single_message_from_asked_to_its_topic(told: Told) -> None:
    request_id = told.sent()
    story = told.of(request_id)
    assert names(story) == ["asked", "answered", "dispatched"]
    (asked,), (answer,), (batch,) = (
        some(story, Asked),
        some(story, Answered),
        some(story, Dispatched),
    )
    assert (asked.requester, asked.channels, asked.recipients) == ("tests", (Channel.EMAIL,), 1)
    assert answer.status == "ACCEPTED"
    assert answer.about == asked.place
    assert batch.shard == batch.place.partition == shard_of(request_id, told.settings.shards)
    (sent,) = batch.messages
    assert (sent.channel, sent.customer_id) == (Channel.EMAIL, "ana")
    assert not story.contradicts


def test_a_cancel_that_was_read_before_its_request_has_two_answers(told: Told) -> None:
    request_id = told.scene.ask_apart(HOUR_MS)
    story = told.of(request_id)
    (stop,) = some(story, CancelAsked)
    answers = {answer.status: answer.about for answer in some(story, Answered)}
    assert sorted(answers) == ["ACCEPTED", "CANCELLED", "UNKNOWN_REQUEST"]
    assert answers["CANCELLED"] == answers["UNKNOWN_REQUEST"] == stop.place
    assert not remarks(story)
    assert not story.contradicts


def test_every_place_is_where_the_record_stands(told: Told) -> None:
    request_id = told.sent(channels=ALL, customers=["ana", "bia"])
    story = told.of(request_id)
    places = [event.place for event in story.events if event.place]
    places += [sent.place for sent in messages(story)]
    assert len(set(places)) == 3 + 7
    for place in places:
        stretch = {place.partition: Stretch(place.offset, place.offset + 1)}
        (record,) = [
            r for part in stretches.read(told.settings, place.topic, stretch) for r in part
        ]
        text, raw = str(request_id).encode(), request_id.bytes
        assert text in (record.value or b"") or raw in (record.value or b"")


def test_every_message_of_every_channel_is_there_once(told: Told) -> None:
    request_id = told.sent(channels=ALL, customers=["ana", "bia"])
    found = sorted((s.channel.value, s.customer_id or "") for s in messages(told.of(request_id)))
    personal = [(channel, who) for channel in ALL[:3] for who in ("ana", "bia")]
    assert found == sorted([*personal, ("PUSH", "")])


def test_a_campaign_of_many_slices_and_batches(make_told: MakeTold) -> None:
    told = make_told(slice_recipients=2, dispatch_batch_messages=4)
    customers = [f"c{number}" for number in range(15)]
    told.scene.register(*customers)
    told.sent()  # others stand around it
    request_id = told.sent(customers=customers)
    story = told.of(request_id)
    assert slices(story) == list(range(8))
    batches = [batch.batch_no for batch in some(story, Dispatched)]
    assert len(batches) > 1
    assert batches == sorted(set(batches))
    assert sorted(sent.customer_id or "" for sent in messages(story)) == sorted(customers)
    assert remarks(story) == []


def test_what_was_skipped_and_why(told: Told) -> None:
    told.scene.register("dora", opted_out=["EMAIL"])
    request_id = told.sent(channels=["EMAIL", "SMS"], customers=["ana", "dora", "nobody"])
    story = told.of(request_id)
    assert skips(story) == {
        (0, "EMAIL", "opted_out", 1),
        (0, "EMAIL", "unknown_customer", 1),
        (0, "SMS", "no_address", 1),
        (0, "SMS", "unknown_customer", 1),
    }
    assert [(s.channel.value, s.customer_id) for s in messages(story)] == [
        ("EMAIL", "ana"),
        ("SMS", "ana"),
    ]
    assert statuses(story) == ["ACCEPTED", "SKIPPED"]
    assert remarks(story) == []


def test_what_expired_left_nothing(told: Told) -> None:
    now_ms = told.scene.installed.now_ms()
    request_id = told.sent(due_at=now_ms - 2_000, expires_at=now_ms - 1_000)
    story = told.of(request_id)
    assert skips(story) == {(0, "EMAIL", "expired", 1)}
    assert messages(story) == []
    assert statuses(story) == ["ACCEPTED", "EXPIRED"]
    assert remarks(story) == []


def test_sent_is_shown_where_it_is_answered(told: Told) -> None:
    request_id = told.ask(channels=["EMAIL", "PUSH"])
    worker = told.scene.worker(status_sent=True)
    drive(worker, until=lambda: told.scene.installed.pending() == 0)
    told.scene.close(worker)
    assert statuses(told.of(request_id)) == ["ACCEPTED", "SENT", "SENT"]


def test_pending_slices_are_still_to_come(make_told: MakeTold) -> None:
    told = make_told(slice_recipients=2)
    request_id = told.ask(
        due_in_ms=HOUR_MS, customers=["ana", "bia", "caio"], channels=["EMAIL", "PUSH"]
    )
    story = told.of(request_id)
    assert names(story) == ["asked", "answered", "pending", "pending", "pending"]
    assert [(p.slice_no, p.recipients, p.channels) for p in some(story, Pending)] == [
        (0, 2, (Channel.EMAIL,)),
        (1, 1, (Channel.EMAIL,)),
        (2, 1, (Channel.PUSH,)),
    ]
    assert not any(slice_.claimed for slice_ in some(story, Pending))


def test_a_slice_that_a_batch_has_is_on_its_way(told: Told) -> None:
    request_id = told.ask()
    told.scene.installed.execute(
        "INSERT INTO claims SELECT shard, 1, ARRAY[seq] FROM pending LIMIT 1"
    )
    (slice_,) = some(told.of(request_id), Pending)
    assert slice_.claimed


def test_a_batch_that_is_not_applied_yet_is_dispatched_and_not_pending(told: Told) -> None:
    request_id = told.ask()
    worker = told.scene.worker()
    drive(worker, until=lambda: told.scene.installed.claims() == 1)
    told.scene.close(worker, killed=True)
    story = told.of(request_id)
    assert slices(story) == [0]
    assert waiting(story) == []
    assert len(messages(story)) == 1
    assert remarks(story) == []


def test_a_cancel_in_time(told: Told) -> None:
    request_id = told.ask(due_in_ms=HOUR_MS)
    told.cancel(request_id)
    told.cancel(request_id)
    story = told.of(request_id)
    assert names(story) == [
        "asked",
        "answered",
        "cancel_asked",
        "answered",
        "cancel_asked",
        "answered",
    ]
    assert statuses(story) == ["ACCEPTED", "CANCELLED", "ALREADY_CANCELLED"]
    cancels, answers = some(story, CancelAsked), some(story, Answered)
    assert [cancel.place for cancel in cancels] == [answer.about for answer in answers[1:]]
    assert answers[1].counts == {
        "recipients_stopped": 1, "recipients_left": 0, "messages_stopped": 1, "messages_left": 0,
    }  # fmt: skip
    assert remarks(story) == []


def test_a_cancel_too_late(told: Told) -> None:
    request_id = told.sent()
    told.cancel(request_id)
    story = told.of(request_id)
    assert names(story) == ["asked", "answered", "dispatched", "cancel_asked", "answered"]
    assert statuses(story)[-1] == "TOO_LATE"
    assert remarks(story) == []


def test_a_cancel_by_somebody_else(told: Told) -> None:
    request_id = told.ask(due_in_ms=HOUR_MS)
    told.cancel(request_id, requester="stranger")
    story = told.of(request_id)
    (cancel,) = some(story, CancelAsked)
    assert cancel.requester == "stranger"
    refused = some(story, Answered)[-1]
    assert (refused.status, refused.reason) == ("REJECTED", "other_requester")
    assert waiting(story) == [0]
    assert remarks(story) == []


def test_a_cancel_that_stopped_a_part(make_told: MakeTold) -> None:
    told = make_told(slice_recipients=1)
    customers = [f"c{number}" for number in range(6)]
    told.scene.register(*customers)
    request_id = told.ask(customers=customers)
    worker = told.scene.worker(dispatch_batch_messages=1)
    drive(worker, until=lambda: told.scene.installed.pending() < 6)
    told.scene.close(worker, killed=True)
    told.cancel(request_id)
    told.scene.dispatch()
    story = told.of(request_id)
    (answer,) = [a for a in some(story, Answered) if a.status == "CANCELLED"]
    stopped = (answer.counts or {})["messages_stopped"]
    assert 0 < stopped < 6
    assert slices(story) == list(range(6 - stopped))
    assert len(messages(story)) == 6 - stopped
    assert remarks(story) == []


def test_a_repetition_is_found_when_asked_for(told: Told) -> None:
    since_ms = told.scene.installed.now_ms() - 1_000
    request_id = uuid4()
    due_at = told.scene.installed.now_ms()
    for _ in range(2):
        told.ask(id_=request_id, due_at=due_at)
    story = told.of(request_id, since_ms=since_ms)
    assert statuses(story) == ["ACCEPTED", "DUPLICATE"]
    asked = some(story, Asked)
    assert [one.place for one in asked] == [answer.about for answer in some(story, Answered)]
    assert len({one.place for one in asked}) == 2


def test_a_refused_request_is_found_when_asked_for(told: Told) -> None:
    since_ms = told.scene.installed.now_ms() - 1_000
    request_id = told.ask(due_in_ms=-HOUR_MS)
    assert told.of(request_id).events == ()
    story = told.of(request_id, since_ms=since_ms)
    assert story.account is None
    assert names(story) == ["asked", "answered"]
    (asked,), (answer,) = some(story, Asked), some(story, Answered)
    assert (answer.status, answer.reason, answer.about) == (
        "REJECTED", "due_in_the_past", asked.place,
    )  # fmt: skip
    assert asked.requester == "tests"


def test_an_invalid_request_shows_that_it_cannot_be_read(told: Told) -> None:
    since_ms = told.scene.installed.now_ms() - 1_000
    request_id = told.ask(channels=["FAX"])
    story = told.of(request_id, since_ms=since_ms)
    (asked,) = some(story, Asked)
    assert asked.channels is None
    assert statuses(story) == ["REJECTED"]


def test_nobody_knows_it(told: Told) -> None:
    unknown = uuid4()
    assert told.of(unknown).events == ()
    assert told.of(unknown, since_ms=0).events == ()


def test_no_address_and_no_message_is_in_a_story(told: Told) -> None:
    request_id = told.sent(channels=ALL, message={"body": "segredo", "content_type": "text/plain"})
    shown = repr(told.of(request_id))
    assert "ana" in shown
    for secret in ("@example.com", "98765", "segredo"):
        assert secret not in shown
