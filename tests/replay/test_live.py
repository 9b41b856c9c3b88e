"""Dispatch and ingest do nothing about what is replayed; forced into saec.requests it is DUPLICATE.

Everything here is done by the real worker and the real consumers, on the real parts.
"""

from collections.abc import Callable
from typing import Any

import pytest

from saec.contracts.events import Channel
from saec.contracts.status import Status
from saec.replay import Options, ReplayRefusedError, Selection, replay
from tests.dispatch.test_worker import drive
from tests.recover.conftest import backup_of, make_scene, scene
from tests.recover.scene import Scene
from tests.replay.kit import make_topic, seen

__all__ = ["backup_of", "make_scene", "scene"]

ALL_TABLES = ("requests", "pending", "cancels", "customers", "claims", "skips", "positions")


def everything(scene: Scene) -> dict[str, Any]:
    """What SAEC knows and what it said."""
    tables = {
        name: sorted(scene.installed.sql(f"SELECT {name}::text FROM {name}")) for name in ALL_TABLES
    }
    tables["shards"] = scene.installed.sql("SELECT shard, halted FROM shards ORDER BY shard")
    topics = scene.settings.topics
    said = [*topics.dispatch.values(), topics.status, topics.rejected, topics.requests]
    return tables | {name: [one.content for one in seen(scene.settings, name)] for name in said}


def written(scene: Scene) -> list[str]:
    """The topics that hold something in these tests."""
    topics = scene.settings.topics
    email = topics.dispatch[Channel.EMAIL]
    return [topics.requests, topics.customers, email, topics.status, topics.rejected, topics.ledger]


def work(scene: Scene) -> None:
    """Have everything that waits taken in and dispatched."""
    scene.take_customers()
    scene.take_requests()
    scene.dispatch()


def history(scene: Scene) -> list[Any]:
    """Sent, cancelled, too late, refused and erased: something of everything."""
    sent = scene.ask(customers=("ana", "bia"), campaign_id="may")
    scene.take_requests()
    scene.dispatch()
    cancelled = scene.ask(due_in_ms=3_600_000, campaign_id="may")
    scene.take_requests()
    scene.cancel(cancelled)
    scene.cancel(sent)
    scene.publish(scene.settings.topics.requests, {"type": "?"}, "nobody")
    scene.publish(scene.settings.topics.customers, None, "caio")
    work(scene)
    return [sent, cancelled]


def test_what_is_replayed_elsewhere_leaves_dispatch_and_ingest_alone(scene: Scene) -> None:
    history(scene)
    target = make_topic(scene.settings)
    before = everything(scene)
    copied = sum(
        replay(scene.settings, Selection(topic), target).copied for topic in written(scene)
    )
    assert copied == len(seen(scene.settings, target)) > 10
    work(scene)
    assert everything(scene) == before
    # And a worker that goes on from there, with something new to do, does just that.
    new = scene.ask(customers=("ana",))
    work(scene)
    assert scene.sent()[new, "ana"] == 1
    assert scene.answers(new) == [Status.ACCEPTED]
    halted = scene.installed.sql("SELECT count(*) FROM shards WHERE halted IS NOT NULL")
    assert halted == [(0,)]


def test_requests_that_are_forced_back_are_duplicates(scene: Scene) -> None:
    sent, cancelled = history(scene)
    topics = scene.settings.topics
    aside = make_topic(scene.settings)
    asked = replay(scene.settings, Selection(topics.requests), aside).copied
    rows = scene.installed.sql("SELECT requests::text FROM requests ORDER BY 1")
    messages = scene.sent()
    with pytest.raises(ReplayRefusedError, match="--really-into"):
        replay(scene.settings, Selection(aside), topics.requests)
    options = Options(really_into=topics.requests)
    for _ in range(2):
        replay(scene.settings, Selection(aside), topics.requests, options)
    assert asked == 5
    assert len(seen(scene.settings, topics.requests)) == 2 * asked
    for partition in range(scene.settings.partitions):  # behind them, to wait for
        scene.ask(due_in_ms=3_600_000, partition=partition)
    scene.take_requests()
    worker = scene.worker()
    drive(worker, until=lambda: len(worker.owned) == scene.settings.shards)
    worker.run_once()
    scene.close(worker)
    first = [Status.ACCEPTED, Status.TOO_LATE]
    assert scene.answers(sent) == [*first, Status.DUPLICATE, Status.TOO_LATE]
    assert scene.answers(cancelled) == [
        Status.ACCEPTED,
        Status.CANCELLED,
        Status.DUPLICATE,
        Status.ALREADY_CANCELLED,
    ]
    assert scene.sent() == messages
    assert set(rows) < set(scene.installed.sql("SELECT requests::text FROM requests ORDER BY 1"))
    refused = [one for one in scene.installed.statuses() if one.status is Status.REJECTED]
    assert len(refused) == 2


def test_what_is_about_one_request_is_found_in_every_topic(scene: Scene) -> None:
    sent, _ = history(scene)
    topics, found = scene.settings.topics, {}
    for topic in written(scene):
        target = make_topic(scene.settings)
        report = replay(scene.settings, Selection(topic, request=str(sent)), target)
        found[topic] = report.copied
    assert {topic: count for topic, count in found.items() if count} == {
        topics.requests: 2,
        topics.dispatch[Channel.EMAIL]: 2,
        topics.status: 2,
        topics.ledger: 1,
    }
    of_customer = Selection(topics.customers, customer="caio")
    assert replay(scene.settings, of_customer, make_topic(scene.settings)).copied == 2
    email = Selection(topics.dispatch[Channel.EMAIL], campaign="may", customer="bia")
    assert replay(scene.settings, email, make_topic(scene.settings)).copied == 1


def test_the_ledger_cannot_be_written_whatever_is_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(scene)
    topics = scene.settings.topics
    aside = make_topic(scene.settings)
    replay(scene.settings, Selection(topics.ledger), aside)
    before = [one.content for one in seen(scene.settings, topics.ledger)]
    for options in (Options(), Options(really_into=topics.ledger), Options(create=True)):
        with pytest.raises(ReplayRefusedError, match="never written"):
            replay(scene.settings, Selection(aside), topics.ledger, options)
    assert [one.content for one in seen(scene.settings, topics.ledger)] == before


Make = Callable[..., Scene]


def test_another_installation_is_as_safe(make_scene: Make) -> None:
    one, other = make_scene(), make_scene()
    source = one.settings.topics.requests
    one.ask()
    with pytest.raises(ReplayRefusedError, match="--really-into"):
        replay(one.settings, Selection(source), other.settings.topics.requests)
    with pytest.raises(ReplayRefusedError, match="never written"):
        replay(one.settings, Selection(source), other.settings.topics.ledger)
