"""What retention took: known from the ledger, or said to be unknown. Never counted as agreement."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saec.audit import Kind, Scope, derive
from saec.contracts.events import Channel
from saec.contracts.ledger import BatchCommitted, SliceDispatched, encode_ledger
from saec.settings import Settings
from saec.store.shards import shard_of
from tests.audit.conftest import Told
from tests.audit.history import LEDGER, REQUESTS, STATUS, History, Record, _names
from tests.audit.judge import LATE_MS, Expected, Judge, Judged, agrees, row
from tests.audit.story import HOUR_MS

EMAIL, SMS, WHATSAPP, PUSH = Channel


def forget(settings: Settings, history: History, *roles: str, until: Any = None) -> None:
    """Delete the beginning of topics: up to the first record `until` is true of; by default all."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    topics = {role: topic for topic, role in _names(settings).items()}
    ends: dict[tuple[str, int], int] = {}
    for role in roles:
        found: dict[int, list[Record]] = {}
        for one in history.records[role]:
            found.setdefault(one.partition, []).append(one)
        for partition, records in found.items():
            kept = [n for n, one in enumerate(records) if until is not None and until(one)]
            ends[topics[role], partition] = kept[0] if kept else len(records)
    wanted = [TopicPartition(*place, offset) for place, offset in ends.items()]
    for deletion in admin.delete_records(wanted).values():
        deletion.result(60)


@contextmanager
def kept(told: Told, history: History, *roles: str, until: Any = None) -> Iterator[Settings]:
    """A history without the beginning of some topics."""
    with history.written(told.story.settings.bootstrap_servers) as settings:
        forget(settings, history, *roles, until=until)
        yield settings


@pytest.fixture
def whole(told: Told, judge: Judge) -> Judged:
    """What is told when nothing is gone."""
    return judge(told.story.settings)


def test_without_any_channel_topic_the_ledger_tells(
    told: Told, judge: Judge, whole: Judged
) -> None:
    with kept(told, told.history.copy(), *Channel) as settings:
        judged = judge(settings)
    assert judged.findings == ()
    total = whole.report.total
    assert judged.report.total == replace(total, from_ledger=total.dispatched)
    assert set(judged.report.sources.values()) == {"ledger"}
    assert judged.report.skipped == whole.report.skipped
    assert {gap.topic.rpartition(".")[2] for gap in judged.report.gaps} == {
        channel.lower() for channel in Channel
    }
    assert judged.report.reconciles


def _from_midway(told: Told, history: History) -> int:
    """When the last requests were dispatched, seconds after the others; to both partitions."""
    sent = history.messages(told.story.ids["stopped midway"], EMAIL)
    history.drop(*sent)
    for number, one in enumerate(sent):
        one.partition = number % 2
        history.records[EMAIL].append(one)
    history.records[EMAIL].sort(key=lambda one: (one.partition, one.stamp_ms))
    return min(one.stamp_ms for one in sent)


def test_a_part_of_a_topic_and_the_ledger(
    told: Told, judge: Judge, whole: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "MARGIN_MS", 0)
    history = told.history.copy()
    since_ms = _from_midway(told, history)
    late = [one for one in history.records[EMAIL] if one.stamp_ms >= since_ms]
    with kept(told, history, EMAIL, until=lambda one: one.stamp_ms >= since_ms) as settings:
        judged = judge(settings)
    assert judged.findings == ()
    email = judged.report.by_channel[EMAIL]
    assert email.dispatched == whole.report.by_channel[EMAIL].dispatched
    assert 0 < email.dispatched - email.from_ledger <= len(late)
    assert judged.report.sources[EMAIL] == "topic and ledger"
    assert judged.report.sources[SMS] == "topic"


def test_what_is_missing_in_the_part_that_is_kept(
    told: Told, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "MARGIN_MS", 0)
    history, id_ = told.history.copy(), told.story.ids["dispatched first"]
    since_ms = _from_midway(told, history)
    history.drop(history.message(id_, EMAIL), history.message(told.story.ids["single"], EMAIL))
    with kept(told, history, EMAIL, until=lambda one: one.stamp_ms >= since_ms) as settings:
        judged = judge(settings)
    missing = Expected(Kind.MISSING, 1, (history.request(id_),), id_, EMAIL, "p4")
    assert [row(one) for one in judged.findings] == [missing.row()]


def test_the_margin_leaves_to_the_ledger_what_is_near_the_gap(told: Told, judge: Judge) -> None:
    history = told.history.copy()
    since_ms = _from_midway(told, history)
    with kept(told, history, EMAIL, until=lambda one: one.stamp_ms >= since_ms) as settings:
        judged = judge(settings)
    assert judged.findings == ()
    assert judged.report.sources[EMAIL] == "ledger"


def test_what_the_ledger_tells_is_judged_as_well(told: Told, judge: Judge) -> None:
    history, ids = told.history.copy(), told.story.ids
    stopped = ids["stopped"]
    led = history.lead(shard_of(stopped, history.shards), SliceDispatched(stopped, 2, 1, 1))
    (batch,) = history.batches(ids["dispatched first"])
    asked_ms = history.request(ids["dispatched first"]).stamp_ms
    told_late = batch.ledger()
    assert isinstance(told_late, BatchCommitted)
    batch.value = encode_ledger(replace(told_late, dispatched_at_ms=asked_ms + LATE_MS + 1))
    with kept(told, history, *Channel) as settings:
        judged = judge(settings)
    request = history.request(stopped)
    agrees(
        judged,
        [
            Expected(Kind.STOPPED_BUT_SENT, 1, (request, led), stopped, EMAIL),
            Expected(Kind.EARLY, 1, (request, led), stopped, EMAIL),
            Expected(
                Kind.LATE,
                1,
                (history.request(ids["dispatched first"]), batch),
                ids["dispatched first"],
                EMAIL,
            ),
        ],
    )


def test_after_expiry_by_the_ledger(told: Told, judge: Judge) -> None:
    history, id_ = told.history.copy(), told.story.ids["in time"]
    (batch,) = history.batches(id_)
    told_ = batch.ledger()
    assert isinstance(told_, BatchCommitted)
    expires_ms = history.message(id_, EMAIL).fields()["expires_at"]
    batch.value = encode_ledger(replace(told_, dispatched_at_ms=expires_ms))
    with kept(told, history, *Channel) as settings:
        judged = judge(settings, later_ms=2 * HOUR_MS)
    found = [row(one) for one in judged.findings if one.kind is Kind.AFTER_EXPIRY]
    expected = Expected(Kind.AFTER_EXPIRY, 1, (history.request(id_), batch), id_, EMAIL)
    assert found == [expected.row()]


def test_without_the_ledger_the_topics_tell_what_went_out_and_nothing_else(
    told: Told, judge: Judge, whole: Judged
) -> None:
    with kept(told, told.history.copy(), LEDGER) as settings:
        judged = judge(settings)
    was, total = whole.report.total, judged.report.total
    assert {one.kind for one in judged.findings} == {Kind.UNJUDGED}
    assert total.dispatched == was.dispatched == total.expected
    assert total.from_ledger == 0
    assert total.unjudged == was.skipped == sum(one.messages for one in judged.findings)
    assert total.skipped == 0
    assert (total.stopped, total.awaited) == (was.stopped, was.awaited)
    assert not judged.report.reconciles


def test_of_a_part_of_the_ledger_no_slice_is_made_up(
    told: Told, judge: Judge, whole: Judged
) -> None:
    """The first batches are gone, and with them how requests were cut."""
    history = told.history.copy()
    first = min(one.at for one in history.batches(told.story.ids["skips"]))
    with kept(told, history, LEDGER, until=lambda one: one.at > first) as settings:
        judged = judge(settings)
    assert {one.kind for one in judged.findings} <= {Kind.UNJUDGED}
    assert judged.report.total.dispatched == whole.report.total.dispatched


def test_without_ledger_and_channels_nothing_is_known(told: Told, judge: Judge) -> None:
    with kept(told, told.history.copy(), LEDGER, *Channel) as settings:
        judged = judge(settings)
    total = judged.report.total
    assert {one.kind for one in judged.findings} == {Kind.UNJUDGED}
    assert total.dispatched == total.expected == total.skipped == 0
    assert total.unjudged == total.asked - total.stopped - total.awaited > 0
    assert not judged.report.reconciles


def test_without_answers_the_ledger_tells_what_was_accepted(
    told: Told, judge: Judge, whole: Judged
) -> None:
    history, ids = told.history.copy(), told.story.ids
    with kept(told, history, STATUS) as settings:
        judged = judge(settings)
    total = judged.report.total
    assert {one.kind for one in judged.findings} == {Kind.UNJUDGED}
    assert total.dispatched == whole.report.total.dispatched
    assert total.skipped == whole.report.total.skipped
    # What a cancel stopped midway, and what was refused, stopped or pending: nobody knows which.
    stayed = ("stopped midway", "pending", "stopped", "apart", "in the past")
    open_ = {ids[name] for name in stayed}
    assert {one.request_id for one in judged.findings} == open_
    assert (total.stopped, total.awaited) == (0, 0)
    midway = [one for one in judged.findings if one.request_id == ids["stopped midway"]]
    assert sum(one.messages for one in midway) == total.unjudged > 0


def test_a_slice_that_is_missing_is_not_awaited_for_ever_when_its_answer_is_gone(
    told: Told, judge: Judge
) -> None:
    history, id_ = told.history.copy(), told.story.ids["campaign"]
    history.drop(*history.messages(id_, EMAIL, "p5"))
    history.forget(id_, 2)
    with kept(told, history, STATUS) as settings:
        judged = judge(settings)
    missing = [one for one in judged.findings if one.kind is Kind.MISSING]
    expected = Expected(Kind.MISSING, 1, (history.request(id_),), id_, EMAIL, "p5")
    assert [row(one) for one in missing] == [expected.row()]


def test_a_later_answer_repeats_what_was_stopped(told: Told, judge: Judge, whole: Judged) -> None:
    """Of the answers to cancels only the last one is kept."""
    history, id_ = told.history.copy(), told.story.ids["stopped"]
    first = history.answer(history.request(id_, 2))
    assert first.status().status == "CANCELLED"
    history.drop(first)
    judged_kinds = Counter[Kind]()
    with kept(told, history) as settings:
        judged = judge(settings)
        judged_kinds.update(one.kind for one in judged.findings)
    assert judged_kinds == {Kind.UNANSWERED: 1}
    assert judged.report.total == replace(whole.report.total, found=judged.report.total.found)


def test_without_requests_nothing_is_held_against_anything(told: Told, judge: Judge) -> None:
    history = told.history.copy()
    with kept(told, history, REQUESTS) as settings:
        judged = judge(settings)
    assert {one.kind for one in judged.findings} == {Kind.UNJUDGED}
    assert judged.report.total.asked == judged.report.total.dispatched == 0
    about = sum(one.messages for one in judged.findings)
    led = sum(
        slice_.messages
        for one in history.records[LEDGER]
        if isinstance(batch := one.ledger(), BatchCommitted)
        for slice_ in batch.slices
    )
    assert about == len(history.messages()) == led
    assert not judged.report.reconciles


def test_nothing_at_all_is_no_agreement(told: Told, judge: Judge) -> None:
    history = told.history.copy()
    with kept(told, history, REQUESTS, STATUS, LEDGER, *Channel) as settings:
        judged = judge(settings)
        later = judge(settings, Scope(since_ms=judged.report.as_of_ms + 731 * 86_400_000))
    assert {one.kind for one in judged.findings} == {Kind.UNJUDGED}
    assert judged.total() == {}
    assert not judged.report.reconciles
    assert later.report.reconciles  # nothing that was deleted could be due as late as that
