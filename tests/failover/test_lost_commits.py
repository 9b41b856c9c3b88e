"""A failover behind a pooler that loses commits: sessions go on, and the database went back.

PgBouncer is in transaction mode, with its default settings. Nobody stores, answers or sends by what
the new primary says before it is seen that it is another one; each message goes out once.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from faults.backup import Backup
from saec.contracts.ledger import BatchCommitted
from saec.contracts.status import Status
from saec.dispatch import round as rounds
from saec.dispatch.round import Worker
from saec.errors import StoreChangedError, StoreUnavailableError
from saec.ingest.loop import IngestLoop
from saec.settings import Settings
from saec.store.shards import UnexpectedBatchError
from tests.dispatch.test_worker import drive, take_all
from tests.failover.conftest import database_of
from tests.failover.pair import Pair
from tests.failover.pooler import Pooler, needed
from tests.outages.grounds import wait_until
from tests.recover.scene import KNOWN, Scene
from tests.recover.test_command import run
from tests.recover.test_went_back import HOUR_MS, consumer, refused, take
from tests.survival.processes import Fleet

pytestmark = [needed, pytest.mark.timeout(300)]

CONFIGURATION = 3  # what a process ends with
ANSWERS_LOST = "requests were answered that the database does not know: it went back in time"
MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(
    make_installed: Callable[..., Settings], make_pooler: Callable[..., Pooler], pair: Pair
) -> Iterator[MakeScene]:
    """Makes installations behind the pooler, with three customers: `make_scene(shards=1)`."""
    made: list[Scene] = []

    def make(**settings: Any) -> Scene:
        installed = make_installed(**settings)
        url = make_pooler(pair.address).url(database_of(installed))
        pooled = installed.model_copy(update={"database_url": url})
        made.append(Scene(pooled, cast("Backup", None)))
        made[-1].register(*KNOWN)
        return made[-1]

    yield make
    for scene in made:
        scene.engine.dispose()


@pytest.fixture
def one(make_scene: MakeScene) -> Scene:
    """One partition and one shard."""
    return make_scene(shards=1, partitions=1, status_sent=True)


def failures(
    monkeypatch: pytest.MonkeyPatch, part: IngestLoop | Worker, method: str
) -> list[Exception]:
    """What fails in a part from now on; it goes on as it would."""
    found: list[Exception] = []
    real = getattr(part, method)

    def note(error: Exception) -> Any:
        found.append(error)
        return real(error)

    monkeypatch.setattr(part, method, note)
    return found


def batches(scene: Scene) -> list[int]:
    """The numbers of the batches that happened."""
    return [one.batch_no for one in scene.installed.ledger() if isinstance(one, BatchCommitted)]


def make_due(scene: Scene) -> None:
    """Let everything that is pending be due."""
    scene.installed.execute("UPDATE pending SET due_at_ms = 0")


def is_sent_once(scene: Scene, *expected: tuple[Any, str]) -> None:
    """Each of these went out and was answered SENT, once, and nothing else did."""
    assert scene.sent() == dict.fromkeys(expected, 1)
    for request_id, _ in expected:
        assert scene.answers(request_id) == [Status.ACCEPTED, Status.SENT]


def test_nothing_is_stored_answered_or_sent_once_answers_are_lost(
    pair: Pair, one: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = one.worker()
    take_all(worker, one.installed)
    with consumer(one) as loop:
        stopped = one.ask(due_in_ms=HOUR_MS)
        take(loop, 1)
        pair.part()
        accepted = one.ask(customers=("bia",))
        one.cancel(stopped)
        take(loop, 2)
        assert one.answers(stopped) == [Status.ACCEPTED, Status.CANCELLED]
        assert one.answers(accepted) == [Status.ACCEPTED]
        pair.fail_over()
        make_due(one)
        failed = failures(monkeypatch, loop, "_go_back")
        doubted = failures(monkeypatch, worker, "_doubt")
        later = one.ask(customers=("caio",))
        assert "requests partition 0 was answered up to" in refused(loop)
    drive(worker, until=lambda: bool(worker.halted))
    # No connection was cut: the look itself tells.
    assert all(isinstance(found[0], StoreChangedError) for found in (failed, doubted))
    assert worker.halted == {0: ANSWERS_LOST}
    assert (one.sent(), one.answers(later)) == ({}, [])
    assert one.installed.sql("SELECT request_id FROM requests") == [(stopped,)]
    one.close(worker)
    report = one.recover()
    assert (report.requests, report.cancels, report.halted) == (1, 1, {})
    one.take_requests()
    one.dispatch()
    is_sent_once(one, (accepted, "bia"), (later, "caio"))
    assert one.answers(stopped) == [Status.ACCEPTED, Status.CANCELLED]


def test_what_was_stored_but_not_answered_is_stored_again(
    pair: Pair, one: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look before the answer finds another server: the answer stays back."""
    with consumer(one) as loop, ThreadPoolExecutor() as threads:
        one.ask(due_in_ms=HOUR_MS)
        take(loop, 1)
        pair.part()
        failed = failures(monkeypatch, loop, "_go_back")
        confirm, lost = loop._taker.confirm, list[Any]()

        def failing_over(*args: Any) -> None:
            if not lost:
                lost.extend(one.installed.sql("SELECT request_id FROM requests"))
                pair.fail_over()
            confirm(*args)

        monkeypatch.setattr(loop._taker, "confirm", failing_over)
        asked = one.ask(customers=("bia",))
        going_on = threads.submit(loop.run)
        wait_until(lambda: Status.ACCEPTED in one.answers(asked))
        loop.stop()
        going_on.result()
    assert (asked,) in lost
    assert [type(error) for error in failed] == [StoreChangedError]
    one.dispatch(until=lambda: one.installed.pending() == 1)
    is_sent_once(one, (asked, "bia"))


# What is lost of a batch that happened -> what the worker, which knows it, stumbles over.
LOST = {
    "claim and effect": UnexpectedBatchError,
    "effect": UnexpectedBatchError,
    "claim, before it had an effect": StoreChangedError,
}


@pytest.mark.parametrize("lost", LOST)
def test_a_batch_that_the_database_does_not_know_is_not_sent_again(
    pair: Pair, one: Scene, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Ledger and takeover make up for it: nobody has to do anything."""
    worker = one.worker()
    take_all(worker, one.installed)
    asked = [one.ask(customers=(customer,)) for customer in KNOWN]
    waits = one.ask(due_in_ms=HOUR_MS)
    one.take_requests()
    if lost == "effect":
        part_before_kafka(pair, monkeypatch)
    else:
        pair.part()
    drive(worker, until=lambda: bool(batches(one)))
    if "before" not in lost:
        drive(worker, until=lambda: one.installed.pending() == 1)
    pair.fail_over()
    assert one.installed.pending() == len(KNOWN) + 1
    assert one.installed.claims() == (lost == "effect")
    doubted = failures(monkeypatch, worker, "_doubt")
    drive(worker, until=lambda: one.installed.pending() == 1 and bool(worker.owned))
    assert [type(error) for error in doubted] == [LOST[lost]]
    assert batches(one) == [1]
    make_due(one)
    drive(worker, until=lambda: one.installed.pending() == 0)
    one.close(worker)
    is_sent_once(one, *zip(asked, KNOWN, strict=True), (waits, "ana"))


def part_before_kafka(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standby hears of the next claim, and then no more."""
    real = rounds.emit

    def parting(*args: Any) -> Any:
        monkeypatch.setattr(rounds, "emit", real)
        pair.part()
        return real(*args)

    monkeypatch.setattr(rounds, "emit", parting)


def test_a_batch_whose_claim_is_lost_before_the_last_look_never_happens(
    pair: Pair, one: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slices are chosen again."""
    worker = one.worker()
    take_all(worker, one.installed)
    asked = one.ask()
    one.take_requests()
    pair.part()
    confirm, claims = rounds.confirm, list[int]()

    def failing_over(*args: Any) -> None:
        if not claims:
            claims.append(one.installed.claims())
            pair.fail_over()
            claims.append(one.installed.claims())
        confirm(*args)

    monkeypatch.setattr(rounds, "confirm", failing_over)
    doubted = failures(monkeypatch, worker, "_doubt")
    drive(worker, until=lambda: one.installed.pending() == 0)
    one.close(worker)
    assert claims == [1, 0]
    assert [type(error) for error in doubted] == [StoreChangedError]
    assert batches(one) == [1]
    is_sent_once(one, (asked, "ana"))


def test_a_shard_whose_takeover_is_lost_halts_until_it_is_recovered(pair: Pair, one: Scene) -> None:
    asked = one.ask()
    waits = one.ask(due_in_ms=HOUR_MS, customers=("bia",))
    one.take_requests()
    pair.part()
    worker = one.worker()
    drive(worker, until=lambda: one.installed.pending() == 1)
    pair.fail_over()
    make_due(one)
    drive(worker, until=lambda: bool(worker.halted))
    assert "the ledger is at epoch 1, PostgreSQL at 1" in worker.halted[0]
    one.close(worker)
    assert one.sent() == {(asked, "ana"): 1}
    report = one.recover()
    assert (report.slices, report.halted) == (1, {})
    one.dispatch()
    is_sent_once(one, (asked, "ana"), (waits, "bia"))


def makes_due(scene: Scene) -> bool:
    """Whether PostgreSQL, while it may be away, let everything that is pending be due."""
    with suppress(StoreUnavailableError):
        make_due(scene)
        return True
    return False


def halted(scene: Scene) -> list[Any]:
    """Why each shard is halted, or not."""
    return scene.installed.sql("SELECT halted FROM shards")


def wait_for_answers(scene: Scene, requests: Iterable[Any], *answers: Status) -> None:
    """Wait until each of these requests was answered so."""
    wait_until(lambda: all(scene.answers(one) == list(answers) for one in requests))


def test_processes_stand_still_until_they_are_recovered(
    pair: Pair, make_scene: MakeScene, tmp_path: Path
) -> None:
    scene = make_scene(shards=4, partitions=2, grace_s=3600)
    log = tmp_path / "log"
    with log.open("wb") as output:
        fleet = Fleet(scene.settings, output, each=1, extra_env={"SAEC_GRACE_S": "3600"})
        try:
            fleet.start()
            go_on_until_lost_commits_are_noticed(pair, scene, fleet, log)
        finally:
            fleet.stop()


def go_on_until_lost_commits_are_noticed(pair: Pair, scene: Scene, fleet: Fleet, log: Path) -> None:
    """Then recover, and go on."""
    stopped = [scene.ask(due_in_ms=HOUR_MS, partition=p) for p in (0, 1)]
    wait_for_answers(scene, stopped, Status.ACCEPTED)
    wait_until(lambda: None not in scene.installed.owners().values())
    pair.part()
    for request_id, partition in zip(stopped, (0, 1), strict=True):
        scene.cancel(request_id, partition=partition)
    dispatched = [scene.ask(customers=("bia",)) for _ in range(5)]
    waiting = [scene.ask(due_in_ms=HOUR_MS, customers=("caio",)) for _ in range(5)]
    wait_for_answers(scene, stopped, Status.ACCEPTED, Status.CANCELLED)
    wait_for_answers(scene, [*dispatched, *waiting], Status.ACCEPTED)
    once = {(request_id, "bia"): 1 for request_id in dispatched}
    wait_until(lambda: scene.sent() == once)
    pair.fail_over()
    wait_until(lambda: makes_due(scene))
    later = [scene.ask(partition=p) for p in (0, 1)]
    assert fleet.running("consumers.requests").wait(60) == CONFIGURATION
    wait_until(lambda: halted(scene) == [(ANSWERS_LOST,)] * 4)
    assert "went back in time; stop everything and run `saec recover`" in log.read_text()
    assert fleet.stop() == [CONFIGURATION, 0, 0]
    assert (scene.sent(), [scene.answers(one) for one in later]) == (once, [[], []])
    result = run(scene)
    assert (result.exit_code, "Done: start the processes." in result.stdout) == (0, True)
    fleet.start()
    make_due(scene)
    once |= dict.fromkeys([(one, "caio") for one in waiting] + [(one, "ana") for one in later], 1)
    wait_until(lambda: scene.installed.pending() == 0 and len(scene.sent()) >= len(once))
    wait_for_answers(scene, later, Status.ACCEPTED)
    assert fleet.stop() == [0, 0, 0]
    assert scene.sent() == once
