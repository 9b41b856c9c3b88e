"""What is not there: deleted by retention, missing, doubled, foreign, in other partitions."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from confluent_kafka import murmur2

from saec.contracts import dispatch
from saec.contracts.dispatch import decode_dispatch
from saec.contracts.events import Channel
from saec.contracts.ledger import (
    BatchCommitted,
    BatchOpened,
    LedgerRecord,
    ShardTaken,
    SliceDispatched,
    encode_ledger,
)
from saec.history import Story
from saec.history.events import Answered, Dispatched, Skipped
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.store.shards import shard_of
from tests.history.kit import (
    Told,
    delete_all,
    messages,
    names,
    plant,
    remarks,
    skips,
    slices,
    some,
    statuses,
    widen,
)

MakeTold = Callable[..., Told]
OTHERS = 20_000
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


def whole(told: Told, topic: str) -> list[Incoming]:
    """Every committed record of a topic."""
    whole_topic = stretches.bounds(told.settings, topic, committed=True)
    return [
        record for piece in stretches.read(told.settings, topic, whole_topic) for record in piece
    ]


def kinds(story: Story) -> set[str]:
    return {kind for kind, _ in remarks(story)}


def forge(told: Told, request_id: UUID, *, messages_sent: int = 1) -> None:
    """Have ledger and database say that a batch happened which nobody sent."""
    shard = shard_of(request_id, told.settings.shards)
    slice_ = SliceDispatched(request_id, 0, 1, messages_sent)
    now_ms = told.scene.installed.now_ms()
    records: list[LedgerRecord] = [
        BatchOpened(shard, 1, "me", 1),
        BatchCommitted(shard, 1, "me", 1, now_ms, (slice_,), ()),
    ]
    ledger = told.settings.topics.ledger
    plant(told.settings, ledger, [(b"k", encode_ledger(r)) for r in records], partition=shard)
    told.scene.installed.execute("DELETE FROM pending")
    told.scene.installed.execute(f"UPDATE shards SET ledger_offset = 9 WHERE shard = {shard}")


# Retention


def test_messages_that_retention_deleted_are_not_said_to_be_missing(told: Told) -> None:
    request_id = told.sent(channels=["EMAIL", "PUSH"])
    delete_all(told.settings, *told.settings.topics.dispatch.values())
    story = told.of(request_id)
    assert slices(story) == [0, 1]
    assert messages(story) == []
    assert remarks(story) == [("no_longer_kept", "2 messages of batch 1: no longer kept")]
    assert not story.contradicts


def test_answers_that_retention_deleted_are_told_by_the_database(told: Told) -> None:
    request_id = told.ask(customers=["nobody"])
    told.scene.dispatch()
    told.cancel(request_id)
    delete_all(told.settings, told.settings.topics.status)
    story = told.of(request_id)
    assert statuses(story) == ["ACCEPTED", "TOO_LATE"]
    assert {answer.place for answer in some(story, Answered)} == {None}
    assert kinds(story) == {"no_longer_kept"}
    assert len(remarks(story)) == 3  # of the skip as well


def test_a_ledger_that_retention_deleted_hides_batches_but_not_skips(told: Told) -> None:
    request_id = told.sent(customers=["ana", "nobody"])
    delete_all(told.settings, told.settings.topics.ledger)
    story = told.of(request_id)
    assert some(story, Dispatched) == []
    assert skips(story) == {(0, "EMAIL", "unknown_customer", 1)}
    assert [skip.at_ms for skip in some(story, Skipped)] == [None]
    assert kinds(story) == {"no_longer_kept"}
    assert "2 messages dispatched or skipped" in remarks(story)[0][1]


def test_a_request_whose_record_is_gone_is_told_by_the_database(told: Told) -> None:
    request_id = told.sent(customers=["ana", "bia"])
    told.cancel(request_id)
    delete_all(told.settings, told.settings.topics.requests)
    story = told.of(request_id)
    assert names(story).count("no_longer_kept") == 3  # both records, and what the cancel's leads to
    assert {"asked", "answered", "dispatched", "cancel_asked"} <= set(names(story))
    # Without its customers their partitions are not known: all are read.
    assert {sent.customer_id for sent in messages(story)} == {"ana", "bia"}
    assert not story.contradicts


# Contradictions


def test_a_message_that_is_missing_is_a_contradiction(told: Told) -> None:
    request_id = told.ask()
    forge(told, request_id)
    story = told.of(request_id)
    assert remarks(story) == [("contradiction", "1 message of batch 1: not in the channel topics")]
    assert story.contradicts


def test_a_message_beyond_what_the_ledger_says_is_one_too(told: Told) -> None:
    request_id = told.sent()
    (other,) = whole(told, told.settings.topics.dispatch["EMAIL"])
    changed = bytearray(other.value or b"")
    changed[12] ^= 1  # a digit of the message's own id
    plant(
        told.settings,
        other.topic,
        [(b"ana", bytes(changed))],
        timestamp=other.appended_at_ms,
        partition=other.partition,
    )
    (remark,) = remarks(told.of(request_id))
    assert remark == ("contradiction", "1 message of batch 1: more than the ledger says")


def test_a_message_that_stands_twice_is_a_contradiction(told: Told) -> None:
    request_id = told.sent()
    (sent,) = whole(told, told.settings.topics.dispatch["EMAIL"])
    plant(
        told.settings,
        sent.topic,
        [(sent.key, sent.value)],
        timestamp=sent.appended_at_ms,
        partition=sent.partition,
    )
    story = told.of(request_id)
    assert len(messages(story)) == 2
    ((kind, what),) = remarks(story)
    assert kind == "contradiction"
    assert "stands twice" in what


def test_a_dispatch_that_no_batch_names_is_a_contradiction(told: Told) -> None:
    request_id = told.ask()
    told.scene.installed.execute("DELETE FROM pending")
    ((kind, what),) = remarks(told.of(request_id))
    assert kind == "contradiction"
    assert "1 message dispatched or skipped: no batch in" in what


def test_a_slice_in_two_batches_is_a_contradiction(make_told: MakeTold) -> None:
    told = make_told(slice_recipients=1)
    request_id = told.ask(customers=["ana", "bia"])
    shard = shard_of(request_id, told.settings.shards)
    slice_ = SliceDispatched(request_id, 0, 1, 1)
    batch = BatchCommitted(shard, 1, "me", 1, told.scene.installed.now_ms(), (slice_,), ())
    twice = [batch, replace(batch, batch_no=2)]
    ledger = told.settings.topics.ledger
    plant(told.settings, ledger, [(b"k", encode_ledger(r)) for r in twice], partition=shard)
    told.scene.installed.execute("DELETE FROM pending")
    told.scene.installed.execute(f"UPDATE shards SET ledger_offset = 2 WHERE shard = {shard}")
    assert any("slice 0 stands in two batches" in what for _, what in remarks(told.of(request_id)))


def test_an_answer_that_was_never_given_is_a_contradiction(told: Told) -> None:
    request_id = told.ask(due_in_ms=HOUR_MS)
    delete_all(told.settings, told.settings.topics.status)
    for partition in range(told.settings.partitions):  # records that are older, and kept
        plant(
            told.settings,
            told.settings.topics.status,
            [(b"x", b"x")],
            partition=partition,
            timestamp=told.scene.installed.now_ms() - DAY_MS,
        )
    ((kind, what),) = remarks(told.of(request_id))
    assert kind == "contradiction"
    assert what.startswith("the answer to ")


def test_a_message_of_no_batch_is_a_contradiction(told: Told) -> None:
    request_id = told.sent()
    (sent,) = whole(told, told.settings.topics.dispatch["EMAIL"])
    message = decode_dispatch(sent.value or b"")
    head = dispatch.recipient_head(message.message_id, "ana", Channel.EMAIL, "ana@example.com")
    tail = dispatch.slice_tail(
        message.dispatched_at_ms + 1,
        request_id,
        None,
        "tests",
        message.due_at_ms,
        None,
        dispatch.encode_message(message.message),
    )
    plant(
        told.settings,
        sent.topic,
        [(b"ana", head + tail)],
        timestamp=sent.appended_at_ms,
        partition=sent.partition,
    )
    ((kind, what),) = remarks(told.of(request_id))
    assert kind == "contradiction"
    assert what.endswith("and no batch in the ledger holds it")


def test_another_record_where_the_request_should_stand_is_a_contradiction(told: Told) -> None:
    request_id, other = told.ask(due_in_ms=HOUR_MS), told.ask(due_in_ms=HOUR_MS)
    told.scene.installed.execute(
        "UPDATE requests r SET source_partition = o.source_partition, "
        f"source_offset = o.source_offset FROM requests o WHERE o.request_id = '{other}' "
        f"AND r.request_id = '{request_id}'"
    )
    story = told.of(request_id)
    assert "holds another record: was the topic recreated?" in remarks(story)[0][1]
    assert story.contradicts


# What is too far away


def test_a_batch_beyond_the_bound_is_not_said_to_be_missing(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = told.sent()
    monkeypatch.setattr("saec.history.batches.MOST_RECORDS", 1)  # BatchOpened
    story = told.of(request_id)
    assert kinds(story) == {"not_read_further"}
    assert not story.contradicts


def test_an_answer_beyond_the_bound_is_not_said_to_be_missing(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_ms = told.scene.installed.now_ms() + HOUR_MS // 2
    for partition in range(told.settings.partitions):
        junk = [(b"x", b"x")] * 5
        plant(
            told.settings,
            told.settings.topics.status,
            junk,
            partition=partition,
            timestamp=later_ms,
        )
    request_id = told.ask(due_in_ms=HOUR_MS)
    assert kinds(told.of(request_id)) == set()
    monkeypatch.setattr("saec.history.answers.MOST_RECORDS", 5)
    story = told.of(request_id)
    assert kinds(story) == {"not_read_further"}
    assert statuses(story) == ["ACCEPTED"]  # as PostgreSQL knows


# Foreign records


@pytest.mark.parametrize("value", [b"", b"\xc3\x01", b"garbage", None], ids=repr)
def test_foreign_records_change_nothing(told: Told, value: bytes | None) -> None:
    request_id = told.sent(channels=["EMAIL", "PUSH"], customers=["ana", "nobody"])
    calm = told.of(request_id)
    topics = told.settings.topics
    marked = None if value is None else value + request_id.bytes + str(request_id).encode()
    for topic in (*topics.dispatch.values(), topics.status, topics.ledger, topics.requests):
        for partition in range(2):
            junk = [(str(request_id).encode(), marked), (None, marked), (b"ana", value)]
            plant(told.settings, topic, junk, partition=partition)
    assert told.of(request_id).events == calm.events


def test_a_foreign_record_in_the_ledger_hides_nothing_behind_it(told: Told) -> None:
    request_id = told.ask()
    shard = shard_of(request_id, told.settings.shards)
    junk = [(b"k", request_id.bytes), (None, b"\xc3\x01" + request_id.bytes), (None, None)]
    plant(told.settings, told.settings.topics.ledger, junk, partition=shard)
    forge(told, request_id)
    assert slices(told.of(request_id)) == [0]


def test_a_false_answer_cannot_lead_anywhere(told: Told) -> None:
    since_ms = told.scene.installed.now_ms() - 1_000
    request_id = told.ask(due_in_ms=HOUR_MS)
    (real,) = [r for r in whole(told, told.settings.topics.status) if r.key]
    for about in ("9" * 5_000, "requests/99/1", "requests/0/999999999999", "requests/0/-1", "☺"):
        name = f"{told.settings.topic_prefix}{about}".encode()
        plant(
            told.settings,
            real.topic,
            [(real.key, real.value)],
            partition=real.partition,
            headers=[("ce_id", name)],
        )
    story = told.of(request_id, since_ms=since_ms)
    assert statuses(story) == ["ACCEPTED"] * 6
    assert names(story).count("asked") == 1


# More partitions, and much else


def test_partitions_that_were_added_since(told: Told) -> None:
    ids = iter(uuid4, None)
    moves = next(id_ for id_ in ids if murmur2(str(id_).encode(), 11) > 1)  # not 0 or 1 any more
    customers = ["ana", "bia", "caio", "nobody"]
    request_id = told.sent(id_=moves, channels=["EMAIL", "PUSH"], customers=customers)
    calm = told.of(request_id)
    topics = told.settings.topics
    for topic in (*topics.dispatch.values(), topics.status):
        widen(told.settings, topic, 11)
    story = told.of(request_id)
    assert story.events == calm.events
    assert len(messages(story)) == 4


def test_what_is_read_does_not_grow_with_the_topics(make_told: MakeTold) -> None:
    quiet, busy = make_told(shards=1), make_told(shards=1)
    topics = busy.settings.topics
    now_ms = busy.scene.installed.now_ms()
    taken = encode_ledger(ShardTaken(0, "long ago", 0, UUID(int=1), 0, now_ms - DAY_MS))
    crowded = [topics.dispatch["EMAIL"], topics.status, topics.ledger]

    def crowd(at_ms: int) -> None:
        for topic in crowded:
            others = ((str(n).encode(), taken) for n in range(OTHERS))
            where = {"partition": 0} if topic == topics.ledger else {}
            plant(busy.settings, topic, others, timestamp=at_ms, **where)

    crowd(now_ms - DAY_MS)
    read = []
    for told in (quiet, busy):
        request_id = told.sent(customers=["ana", "nobody"])
        story = told.of(request_id)
        assert remarks(story) == []
        read.append(story.records_read)
    crowd(now_ms + HOUR_MS // 2)
    read.append(busy.of(request_id).records_read)
    assert read[0] == read[1] == read[2] < 20
