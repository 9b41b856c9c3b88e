"""From the topics alone comes what the processes made of them, row for row."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saec.audit import Kind, Scope, audit
from saec.contracts.status import Status
from saec.kafka import stretches
from saec.kafka.intake import Intake
from saec.recover.run import recover
from saec.settings import Settings
from tests.dispatch.test_worker import KilledError
from tests.rebuild.kit import again, content, delete_up_to, kafka, query
from tests.recover.scene import KNOWN, Scene
from tests.recover.test_facts import claim_and_die

MakeScene = Callable[..., Scene]
NewDatabase = Callable[[], str]
HOUR_MS = 3_600_000


def register(scene: Scene, customer: str, **fields: object) -> None:
    """Publish a registration."""
    value = {"type": "saec.v1.CustomerRegistered", "id": customer, **fields}
    scene.publish(scene.settings.topics.customers, value, customer)


def stop(scene: Scene, request_id: uuid.UUID, requester: str = "tests") -> None:
    """Publish a cancel of somebody."""
    value = {"type": "saec.v1.CancelRequested", "id": str(request_id), "requester": requester}
    scene.publish(scene.settings.topics.requests, value, str(request_id))


def live_through(scene: Scene) -> int:
    """Everything that can become of a request; returns how many slices are pending at the end."""
    now_ms = scene.installed.now_ms()
    register(scene, "opted", email="opted@example.com", opted_out=["EMAIL"])
    register(scene, "gone", email="gone@example.com")
    register(scene, "odd", email="not an address", phone="+5511987654321")
    scene.publish(scene.settings.topics.customers, None, "gone")
    scene.take_customers()

    sent = [scene.ask() for _ in range(3)]
    scene.ask(customers=[*KNOWN, "opted", "gone", "odd", "nobody"], lane="CAMPAIGN")
    scene.ask(customers=KNOWN, channels=["EMAIL", "SMS", "PUSH"], campaign_id="c1")
    scene.ask(customers=[], channels=["PUSH"])
    scene.ask(expires_at=scene.installed.now_ms() + 200)
    later = [scene.ask(HOUR_MS, customers=KNOWN) for _ in range(3)]
    scene.ask(2_000 * 24 * HOUR_MS)  # beyond the horizon
    scene.publish(scene.settings.topics.requests, {"of": "a stranger"}, "x")
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 6)

    for id_ in (later[0], later[0], sent[0], sent[0], uuid.uuid4()):
        stop(scene, id_)
    stop(scene, later[1], "somebody else")
    scene.ask(HOUR_MS, id_=later[2], customers=("bia",))  # the id is taken
    scene.take_requests()
    _stop_a_part(scene)
    twice = uuid.uuid4()
    for _ in range(2):
        scene.ask(due_in_ms=now_ms + HOUR_MS - scene.installed.now_ms(), id_=twice)
    scene.take_requests()
    return scene.installed.pending()


def _stop_a_part(scene: Scene) -> None:
    """Of a request one slice is claimed when the cancel comes, and leaves later."""
    asked = scene.ask(customers=[*KNOWN, "odd", "opted"])
    scene.take_requests()
    worker = claim_and_die(scene, dispatch_batch_messages=1)
    stop(scene, asked)
    scene.take_requests()
    scene.close(worker, killed=True)
    assert scene.answers(asked)[-1] is Status.CANCELLED
    before = scene.installed.pending()
    scene.dispatch(until=lambda: scene.installed.pending() == before - 1)


def test_every_row_is_there_again(make_scene: MakeScene, new_database: NewDatabase) -> None:
    scene = make_scene(slice_recipients=2)
    left = live_through(scene)
    live, before, url = content(scene.settings.database_url), kafka(scene.settings), new_database()
    assert {status for (_, _, _, status, *_) in live["cancels"]} == {
        "CANCELLED", "TOO_LATE", "ALREADY_CANCELLED", "UNKNOWN_REQUEST", "REJECTED",
    }  # fmt: skip
    assert {reason for (_, _, _, reason, _) in live["skips"]} >= {
        "expired", "unknown_customer", "opted_out", "no_address",
    }  # fmt: skip
    assert left == len(live["pending"]) > 3

    foreseen = again(scene, url, dry_run=True)
    assert query(url, "SELECT to_regclass('requests')") == [(None,)]
    report = again(scene, url)
    assert content(url) == live
    assert kafka(scene.settings) == before
    for one in (foreseen, report):
        assert (one.requests, one.batches) == (len(live["requests"]), sum_of(live["batches"]))
        assert (one.cancels, one.undecided, one.requests_anew) == (len(live["cancels"]), 0, 0)
        assert (one.doubtful, one.forgotten, one.halted) == (0, 0, {})
    assert report.slices == foreseen.slices


def test_an_audit_finds_both_databases_equal_to_the_topics(
    make_scene: MakeScene, new_database: NewDatabase, tmp_path: Path
) -> None:
    """As a person would see it, who moves; a row that is lacking in one of them is found there."""
    scene = make_scene(slice_recipients=2)
    live_through(scene)
    url = new_database()
    again(scene, url)
    rebuilt = scene.settings.model_copy(update={"database_url": url})
    for settings in (scene.settings, rebuilt):
        assert _found(settings, tmp_path) == set()
    query(url, "DELETE FROM skips WHERE reason = 'opted_out' RETURNING 1")
    assert _found(scene.settings, tmp_path) == set()
    assert _found(rebuilt, tmp_path) == {Kind.NOT_STORED}


def _found(settings: Settings, directory: Path) -> set[Kind]:
    how = {"late_ms": 600_000, "directory": directory}
    with audit(settings, Scope(store=True), **how) as done:
        return set(done.report.findings)


def sum_of(batches: list[tuple[Any, ...]]) -> int:
    return sum(batch_no for _, batch_no in batches)


def test_nobody_of_the_old_database_is_forgotten(scene: Scene, new_database: NewDatabase) -> None:
    """Whoever wrote last to the ledger is fenced by the recovery, and of a lower epoch."""
    scene.ask(id_=scene.installed._new_id(0))
    scene.take_requests()
    worker = scene.worker()
    worker.run_once()
    while scene.installed.pending() or len(worker.owned) < 2:
        worker.run_once()
    owners = scene.installed.owners()
    scene.installed.execute("UPDATE shards SET halted = 'by hand' WHERE shard = 1")
    url = new_database()
    again(scene, url)
    assert query(url, "SELECT DISTINCT halted FROM shards") == [(None,)]
    assert dict(query(url, "SELECT shard, owner FROM shards")) == owners
    assert None not in owners.values()
    epochs = [record.epoch for record in scene.installed.ledger()]
    assert query(url, "SELECT min(epoch) FROM shards")[0][0] > max(epochs)
    ends = stretches.bounds(scene.settings, scene.settings.topics.ledger, committed=True)
    offsets = query(url, "SELECT shard, ledger_offset FROM shards")
    assert dict(offsets) == {shard: end.end for shard, end in ends.items()}
    names = "cluster_id, requests_topic_id, customers_topic_id, ledger_topic_id, shards"
    ids = f"SELECT {names}, topic_prefix FROM installation"
    assert query(url, ids) == query(scene.settings.database_url, ids)
    scene.close(worker)


def test_what_was_dispatched_before_it_was_answered(
    scene: Scene, new_database: NewDatabase
) -> None:
    with pytest.MonkeyPatch.context() as patched:

        def die(*_: Any) -> None:
            raise KilledError

        patched.setattr(Intake, "answer", die)
        scene.ask()
        with pytest.raises(KilledError):
            scene.take_requests()
    scene.dispatch()
    url = new_database()
    report = again(scene, url)
    assert (report.requests, report.ahead, report.slices) == (0, 1, 1)
    found, live = content(url), content(scene.settings.database_url)
    assert found["requests"] == live["requests"]
    assert found["pending"] == []


def test_what_is_not_read_yet_is_left_to_the_consumers(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.ask()
    scene.take_requests()
    scene.ask()
    register(scene, "zoe")
    url, live = new_database(), content(scene.settings.database_url)
    again(scene, url)
    assert content(url) == live


def test_answers_that_are_not_kept_are_counted(scene: Scene, new_database: NewDatabase) -> None:
    kept = scene.ask(HOUR_MS)
    stopped = scene.ask(HOUR_MS)
    scene.take_requests()
    stop(scene, stopped)
    scene.take_requests()
    for partition in (0, 1):
        delete_up_to(scene.settings, scene.settings.topics.status, partition, -1)
    url, live = new_database(), content(scene.settings.database_url)
    report = again(scene, url)
    assert (report.requests_anew, report.cancels, report.undecided) == (2, 0, 1)
    assert content(url) == live
    assert [row[3] for row in live["pending"]] == [kept]


def test_after_a_recovery_it_goes_on(scene: Scene, new_database: NewDatabase) -> None:
    """What came in and what left between the two is in the new database as well, once."""
    first, later = scene.ask(), scene.ask(HOUR_MS)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    url = new_database()
    again(scene, url)
    second = scene.ask()
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    stop(scene, later)
    scene.register("zoe")
    scene.take_requests()
    live = content(scene.settings.database_url)
    moved = scene.settings.model_copy(update={"database_url": url})
    report = recover(moved, print, dry_run=False)
    assert (report.requests, report.cancels, report.slices) == (1, 1, 1)
    assert report.halted == {}
    assert content(url) == live
    new = Scene(moved, scene.backup)
    third = new.ask(customers=("zoe",))
    new.take_requests()
    new.dispatch()
    assert new.sent() == {(first, "ana"): 1, (second, "ana"): 1, (third, "zoe"): 1}
    new.engine.dispose()
