"""Whole rounds: workers in a real group, dying at every step, taking over from one another."""

import threading
import time
import uuid
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from saec.contracts.status import Status
from saec.dispatch import round as rounds
from saec.dispatch.round import Worker
from saec.errors import StoreUnavailableError
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from tests.dispatch.kit import Installed

MakeWorker = Callable[..., Worker]
DEADLINE_S = 60.0


class KilledError(BaseException):
    """Ends a worker where it stands: nothing of its own catches it."""


def drive(*workers: Worker, until: Callable[[], bool]) -> None:
    """Let the workers do rounds in turn until a condition holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    never = threading.Event()
    while not until():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        never.wait(min(worker.run_once() for worker in workers))


def abandon(worker: Worker) -> None:
    """What a kill leaves: the producer and its transaction stay, nothing is released."""
    zombie, worker._belief = worker._belief, None
    worker._membership.close()
    worker.zombie = zombie  # type: ignore[attr-defined]  # keeps the producer alive


def take_all(worker: Worker, installed: Installed) -> None:
    """Let a worker own every shard."""
    drive(worker, until=lambda: len(worker.owned) == installed.settings.shards)


def test_a_worker_dispatches_what_is_due_and_applies_it(
    installed: Installed, make_worker: MakeWorker
) -> None:
    asked = [installed.ask(channels=("EMAIL", "SMS")) for _ in range(5)]
    later = installed.ask(due_in_ms=3_600_000)
    drive(make_worker(), until=lambda: installed.pending() == 1)
    assert installed.sent() == {
        (request, channel, "ana"): 1 for request in asked for channel in ("EMAIL", "SMS")
    }
    assert installed.sql("SELECT request_id FROM pending") == [(later,)]
    assert installed.claims() == 0


def test_never_early(installed: Installed, make_worker: MakeWorker) -> None:
    for in_ms in range(0, 1_000, 100):
        installed.ask(due_in_ms=in_ms)
    drive(make_worker(), until=lambda: installed.pending() == 0)
    early = [m for m in installed.dispatched() if m.dispatched_at_ms < m.due_at_ms]
    assert early == []
    assert len(installed.dispatched()) == 10


def test_sent_is_answered_in_the_same_transaction_when_asked_for(
    installed: Installed, make_worker: MakeWorker
) -> None:
    request_id = installed.ask(channels=("EMAIL", "PUSH"), customers=("ana", "nobody"))
    drive(make_worker(status_sent=True), until=lambda: installed.pending() == 0)
    answers = {(s.status, s.counts["slice"]): dict(s.counts) for s in installed.statuses()}
    assert answers == {
        (Status.SKIPPED, 0): {"EMAIL.unknown_customer": 1, "slice": 0},
        (Status.SENT, 0): {"EMAIL": 1, "slice": 0},
        (Status.SENT, 1): {"PUSH": 1, "slice": 1},
    }
    assert {s.request_id for s in installed.statuses()} == {str(request_id)}


def claimed_nothing(done: object) -> bool:
    """Whether this is what a claim returns that only looked."""
    return isinstance(done, tuple) and done[0] is None


Kill = Callable[[pytest.MonkeyPatch, int], None]


def kill_before(step: str) -> Kill:
    """Die when a step is about to begin for the nth time."""

    def patch(monkeypatch: pytest.MonkeyPatch, nth: int = 1) -> None:
        original, begun = getattr(rounds, step), count(1)

        def die(*args: Any, **kwargs: Any) -> Any:
            if next(begun) >= nth:
                raise KilledError
            return original(*args, **kwargs)

        monkeypatch.setattr(rounds, step, die)

    return patch


def kill_after(step: str) -> Kill:
    """Die when a step is done for the nth time, before anybody heard of it."""

    def patch(monkeypatch: pytest.MonkeyPatch, nth: int = 1) -> None:
        original, over = getattr(rounds, step), count(1)

        def die(*args: Any, **kwargs: Any) -> Any:
            done = original(*args, **kwargs)
            if claimed_nothing(done) or next(over) < nth:
                return done
            raise KilledError

        monkeypatch.setattr(rounds, step, die)

    return patch


def kill_in_the_middle_of_the_transaction(monkeypatch: pytest.MonkeyPatch, nth: int = 1) -> None:
    """Die with everything produced and sent, and the nth transaction open."""
    original, begun = TransactionalProducer.commit, count(1)

    def die(self: Any) -> None:
        if next(begun) < nth:
            return original(self)
        self._producer.flush(60)
        raise KilledError

    monkeypatch.setattr(TransactionalProducer, "commit", die)


STEPS: dict[str, Kill] = {
    "before the claim": kill_before("claim_due"),
    "after the claim": kill_after("claim_due"),
    "after the read": kill_after("read_claimed"),
    "after composing": kill_after("compose"),
    "with the transaction open": kill_in_the_middle_of_the_transaction,
    "after the commit, before it is applied": kill_after("emit"),
}
# How many messages a batch takes, and which batch it is that something happens to: by itself, as
# the first of several, or as one that was prepared while the one before it was in Kafka.
BATCHES = [(5_000, 1), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize(("batch", "nth"), BATCHES)
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_worker_sends_everything_once(
    step: str, batch: int, nth: int, installed: Installed, make_worker: MakeWorker
) -> None:
    first = make_worker(dispatch_batch_messages=batch)
    take_all(first, installed)
    asked = [installed.ask(shard=shard) for shard in installed.shards * 2]
    with pytest.MonkeyPatch.context() as patched:
        STEPS[step](patched, nth)
        with pytest.raises(KilledError):
            drive(first, until=lambda: installed.pending() == 0)
    abandon(first)
    drive(make_worker(), until=lambda: installed.pending() == 0)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}
    assert installed.claims() == 0


DOUBTS = {
    "claim_due": StoreUnavailableError("no answer to the commit"),
    "read_claimed": StoreUnavailableError("connection lost"),
    "emit": InDoubtError("no answer to the commit"),
}


@pytest.mark.parametrize(("batch", "nth"), BATCHES)
@pytest.mark.parametrize("step", DOUBTS)
@pytest.mark.parametrize("done", [True, False])
def test_a_step_in_doubt_whether_done_or_not_sends_everything_once(
    step: str, batch: int, nth: int, installed: Installed, make_worker: MakeWorker, *, done: bool
) -> None:
    """The answer of a step is lost once; the same worker goes on by taking over from itself."""
    worker = make_worker(dispatch_batch_messages=batch)
    take_all(worker, installed)
    asked = [installed.ask(shard=shard) for shard in installed.shards * 2]
    original, lost, tried = getattr(rounds, step), threading.Event(), count(1)

    def in_doubt(*args: Any, **kwargs: Any) -> Any:
        if lost.is_set() or next(tried) < nth:
            return original(*args, **kwargs)
        if done:
            result = original(*args, **kwargs)
            if claimed_nothing(result):
                return result
        lost.set()
        raise DOUBTS[step]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds, step, in_doubt)
        drive(worker, until=lambda: installed.pending() == 0)
    assert lost.is_set()
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}
    assert installed.claims() == 0


def ahead_of(worker: Worker, installed: Installed) -> list[uuid.UUID]:
    """Let a worker emit two of eight messages and have the next two ready; returns the eight."""
    take_all(worker, installed)
    asked = [installed.ask(shard=shard) for shard in installed.shards * 2]
    drive(worker, until=lambda: bool(worker._belief and worker._belief.ahead))
    return asked


def test_while_a_batch_is_in_kafka_the_next_one_is_claimed_and_read(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, read, emit = make_worker(dispatch_batch_messages=2), rounds.read_claimed, rounds.emit
    reads, overlapped = count(1), []

    def reading(*args: Any) -> Any:
        done = read(*args)
        if next(reads) > 1:
            ready.set()
        return done

    def emitting(*args: Any) -> Any:
        overlapped.append(ready.wait(60))
        return emit(*args)

    ready = threading.Event()
    monkeypatch.setattr(rounds, "read_claimed", reading)
    monkeypatch.setattr(rounds, "emit", emitting)
    ahead_of(worker, installed)
    assert overlapped == [True]


def test_a_revoked_shard_takes_what_is_ahead_with_it_and_the_others_choose_theirs_again(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    asked = ahead_of(worker, installed)
    worker._on_revoked(frozenset({0, 1}))
    assert worker.owned == {2, 3}
    assert (installed.pending(), installed.claims()) == (6, 0)
    owners = installed.owners()
    assert [shard for shard in installed.shards if owners[shard] is None] == [0, 1]
    drive(worker, until=lambda: installed.pending() == 0)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_a_shard_that_comes_while_a_batch_is_ahead_is_taken_over_once(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    take_all(worker, installed)
    worker._membership.assigned.remove(3)
    worker._on_revoked(frozenset({3}))
    asked = [installed.ask(shard=shard) for shard in installed.shards * 2]
    drive(worker, until=lambda: bool(worker._belief and worker._belief.ahead))
    taken, run = [], worker._takeover.run

    def counted(producer: Any, wanted: Any, **more: Any) -> Any:
        taken.append(set(wanted))
        return run(producer, wanted, **more)

    monkeypatch.setattr(type(worker._takeover), "run", lambda _self, *a, **k: counted(*a, **k))
    worker._membership.assigned.add(3)
    drive(worker, until=lambda: installed.pending() == 0)
    assert taken == [{3}]
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_a_clean_stop_gives_up_what_is_ahead(installed: Installed, make_worker: MakeWorker) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    ahead_of(worker, installed)
    worker.close()
    assert (installed.pending(), installed.claims()) == (6, 0)
    assert set(installed.owners().values()) == {None}


def test_a_claim_ahead_that_is_gone_is_doubt(installed: Installed, make_worker: MakeWorker) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    ahead_of(worker, installed)
    assert worker._belief is not None
    assert worker._belief.ahead is not None
    worker._belief.ahead.take()
    installed.execute("DELETE FROM claims")
    worker.close()
    assert None not in installed.owners().values()


def test_lost_with_a_batch_ahead_everything_is_taken_over_anew(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    asked = ahead_of(worker, installed)
    worker._on_lost(frozenset({0, 1}))
    assert worker.owned == frozenset()
    assert None not in installed.owners().values()
    drive(worker, until=lambda: installed.pending() == 0)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_a_zombie_worker_that_wakes_up_sends_nothing(
    installed: Installed, make_worker: MakeWorker
) -> None:
    """Stopped before its emit; it goes on when its shards are long somebody else's."""
    zombie = make_worker()
    take_all(zombie, installed)
    asked = [installed.ask(shard=shard) for shard in installed.shards]
    original = rounds.emit
    heir: list[Worker] = []

    def stopped(*args: Any) -> Any:
        patched.undo()
        zombie._membership.assigned.clear()
        zombie._membership._consumer.close()
        heir.append(make_worker())
        drive(heir[0], until=lambda: installed.pending() == 0)
        return original(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds, "emit", stopped)
        zombie._on_revoked = lambda _shards: None  # type: ignore[method-assign]
        zombie._membership._on_revoked = lambda _shards: None
        drive(zombie, until=lambda: bool(heir))
    assert zombie.owned == frozenset()
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_two_workers_share_the_shards_and_one_that_leaves_hands_them_over(
    installed: Installed, make_worker: MakeWorker
) -> None:
    first = make_worker()
    take_all(first, installed)
    second = make_worker()
    drive(first, second, until=lambda: bool(second.owned) and len(first.owned) == 2)
    assert first.owned | second.owned == set(installed.shards)
    assert not first.owned & second.owned
    left = first.owned
    first.close()
    assert {shard for shard, owner in installed.owners().items() if owner is None} == left
    take_all(second, installed)
    asked = [installed.ask(shard=shard) for shard in installed.shards]
    drive(second, until=lambda: installed.pending() == 0)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_a_clean_stop_applies_the_last_batch_and_releases(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    take_all(worker, installed)
    asked = installed.ask()
    drive(worker, until=lambda: bool(worker._belief and worker._belief.finished))
    assert installed.pending() == 1
    worker.close()
    assert (installed.pending(), installed.claims()) == (0, 0)
    assert set(installed.owners().values()) == {None}
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


def test_a_stop_in_doubt_does_not_release(installed: Installed, make_worker: MakeWorker) -> None:
    worker = make_worker()
    take_all(worker, installed)

    def refuse(*_args: Any) -> None:
        raise StoreUnavailableError("connection lost")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds, "settle", refuse)
        worker.close()
    assert None not in installed.owners().values()


def test_lost_shards_are_dropped_and_not_released(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    take_all(worker, installed)
    worker._on_lost(frozenset({0, 1}))
    assert worker.owned == {2, 3}
    assert None not in installed.owners().values()


def test_a_halted_shard_does_not_stop_the_others(
    installed: Installed, make_worker: MakeWorker
) -> None:
    installed.execute("UPDATE shards SET ledger_offset = 1000 WHERE shard = 2")
    asked = {shard: installed.ask(shard=shard) for shard in installed.shards}
    worker = make_worker()
    drive(worker, until=lambda: installed.pending() == 1)
    assert worker.halted.keys() == {2}
    assert installed.sent() == {
        (request, "EMAIL", "ana"): 1 for shard, request in asked.items() if shard != 2
    }
    (why,) = installed.sql("SELECT halted FROM shards WHERE shard = 2")[0]
    assert "deleted or replaced" in str(why)


def test_a_late_transactional_slice_overtakes_a_campaign(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker(dispatch_batch_messages=2)
    take_all(worker, installed)
    campaign = [installed.ask(customers=("ana", "bia"), lane="CAMPAIGN") for _ in range(5)]
    drive(worker, until=lambda: bool(worker._belief and worker._belief.finished))
    urgent = installed.ask(lane="TRANSACTIONAL", shard=0)
    drive(worker, until=lambda: installed.pending() == 0)
    by_time = sorted(installed.dispatched(), key=lambda m: m.dispatched_at_ms)
    place = [m.request_id for m in by_time].index(urgent)
    assert place <= 4
    assert len(by_time) == 2 * len(campaign) + 1


def test_what_a_cancel_stopped_never_leaves_and_what_it_did_not_does(
    installed: Installed, make_worker: MakeWorker
) -> None:
    stopped, kept = installed.ask(due_in_ms=300), installed.ask(due_in_ms=300)
    answer = installed.cancel(stopped)
    assert answer.status is Status.CANCELLED
    drive(make_worker(), until=lambda: installed.pending() == 0)
    assert installed.sent() == {(kept, "EMAIL", "ana"): 1}
    late = installed.cancel(kept)
    assert late.status is Status.TOO_LATE
    assert installed.cancel(stopped).status is Status.ALREADY_CANCELLED
