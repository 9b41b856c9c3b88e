"""What halts shards, and that a halt keeps to its shard and lasts until a person clears it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from saec.clock import SystemClock
from saec.dispatch import round as rounds
from saec.dispatch.round import Worker
from saec.errors import SaecError, StoreUnavailableError
from saec.health.heart import Heart
from saec.outage import STUCK_FAILURES
from saec.store import shards as stored_shards
from tests.dispatch.kit import Installed
from tests.dispatch.test_worker import drive, take_all

MakeWorker = Callable[..., Worker]


def look_again(worker: Worker) -> None:
    """Let the time pass after which halts are looked at again."""
    worker._suspended._look_again_s = 0.0


@pytest.mark.parametrize("value", [b"garbage", b"", None])
def test_a_foreign_record_in_the_ledger_halts_its_shard_alone(
    value: bytes | None, installed: Installed, make_worker: MakeWorker
) -> None:
    producer = Producer({"bootstrap.servers": installed.settings.bootstrap_servers})
    producer.produce(installed.settings.topics.ledger, value, b"x", 2)
    producer.flush(60)
    asked = {shard: installed.ask(shard=shard) for shard in installed.shards}
    worker = make_worker()
    drive(worker, until=lambda: installed.pending() == 1)
    assert worker.halted.keys() == {2}
    assert installed.sent() == {
        (request, "EMAIL", "ana"): 1 for shard, request in asked.items() if shard != 2
    }


def test_a_halt_lasts_over_restarts_until_it_is_cleared(
    installed: Installed, make_worker: MakeWorker
) -> None:
    installed.execute("UPDATE shards SET halted = 'for a test' WHERE shard = 2")
    asked = installed.ask(shard=2)
    worker = make_worker()
    drive(worker, until=lambda: len(worker.owned) == installed.settings.shards - 1)
    assert worker.halted == {2: "for a test"}
    worker.close()
    again = make_worker()
    drive(again, until=lambda: len(again.owned) == installed.settings.shards - 1)
    look_again(again)
    drive(again, until=lambda: again._suspended._look_again_s > 0)
    assert installed.pending() == 1
    installed.execute("UPDATE shards SET halted = NULL")
    look_again(again)
    drive(again, until=lambda: installed.pending() == 0)
    assert again.halted == {}
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


def test_a_halt_that_cannot_be_written_down_holds_all_the_same(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker()
    take_all(worker, installed)
    gone = installed.ask(shard=1)
    original, away = stored_shards.mark_halted, [1, 1]

    def unreachable(*args: Any) -> None:
        if away:
            away.pop()
            raise StoreUnavailableError("connection lost")
        original(*args)

    def vanish(*args: Any) -> Any:
        installed.execute(f"DELETE FROM pending WHERE request_id = '{gone}'")
        return read(*args)

    read = rounds.read_claimed
    monkeypatch.setattr("saec.store.shards.mark_halted", unreachable)
    monkeypatch.setattr(rounds, "read_claimed", vanish)
    drive(worker, until=lambda: len(worker.owned) == installed.settings.shards - 1)
    assert worker.halted.keys() == {1}
    assert installed.sql("SELECT shard FROM shards WHERE halted IS NOT NULL") == [(1,)]


@pytest.mark.parametrize("role", ["requests", "customers"])
def test_a_database_behind_the_answers_halts_everything(
    installed: Installed, make_worker: MakeWorker, role: str
) -> None:
    """It was restored from before a request, a cancel or a registration that was answered."""
    installed.ask()
    settings = installed.settings
    group = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.group_id(role)}
    )
    saved = installed.sql(f"SELECT next_offset FROM positions WHERE topic LIKE '%%{role}'")
    known = saved[0][0] if saved else 0
    assert isinstance(known, int)
    ahead = TopicPartition(getattr(settings.topics, role), 0, known + 1)
    group.commit(offsets=[ahead], asynchronous=False)
    group.close()
    worker = make_worker()
    drive(worker, until=lambda: len(worker.halted) == settings.shards)
    assert installed.pending() == 1
    assert all("went back in time" in why for why in worker.halted.values())


def test_a_shard_whose_ledger_hangs_does_not_hold_up_the_others_and_is_halted_in_time(
    installed: Installed, make_worker: MakeWorker
) -> None:
    hanging = Producer(
        {
            "bootstrap.servers": installed.settings.bootstrap_servers,
            "transactional.id": f"{installed.settings.topic_prefix}hanging",
            "transaction.timeout.ms": 60_000,
        }
    )
    hanging.init_transactions(60)
    hanging.begin_transaction()
    hanging.produce(installed.settings.topics.ledger, b"x", b"x", 3)
    hanging.flush(60)
    asked = {shard: installed.ask(shard=shard) for shard in installed.shards}
    worker = make_worker()
    drive(worker, until=lambda: installed.pending() == 1)
    assert worker.halted == {}
    worker._suspended._hanging_bound_s = 0.0
    drive(worker, until=lambda: bool(worker.halted))
    assert worker.halted.keys() == {3}
    assert installed.sent() == {
        (request, "EMAIL", "ana"): 1 for shard, request in asked.items() if shard != 3
    }
    hanging.abort_transaction(60)


def test_an_interrupt_in_the_commit_releases_nothing(
    installed: Installed, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    take_all(worker, installed)
    installed.ask()

    def interrupted(*_args: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("saec.kafka.transaction.TransactionalProducer.commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drive(worker, until=lambda: False)
    worker.close()
    assert None not in installed.owners().values()


def test_a_worker_that_dispatches_none_of_its_shards_is_not_at_work(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a health check asks for; a worker that stands by, or has one shard, is at work."""
    monkeypatch.setattr(rounds, "_IDLE_BOUND_S", 0.0)
    installed.execute("UPDATE shards SET halted = 'for a test'")
    worker = make_worker()
    assert worker.trouble is None
    drive(worker, until=lambda: len(worker.halted) == installed.settings.shards)
    drive(worker, until=lambda: worker.trouble is not None)
    assert str(worker.trouble).startswith("none of 4 shards assigned is dispatched")
    installed.execute("UPDATE shards SET halted = NULL WHERE shard = 1")
    look_again(worker)
    drive(worker, until=lambda: bool(worker.owned) and worker.trouble is None)


def test_the_health_check_fails_when_every_shard_is_halted(
    installed: Installed,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As a container's engine asks it: another process, that knows where the files are."""
    here = installed.settings.model_copy(update={"runtime_dir": tmp_path})
    told = {"SAEC_RUNTIME_DIR": str(tmp_path), "SAEC_TOPIC_PREFIX": here.topic_prefix}

    def asked() -> tuple[int, str]:
        command = [sys.executable, "-m", "saec.health", "dispatch"]
        done = subprocess.run(
            command, env=os.environ | told, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout.strip()

    monkeypatch.setattr(rounds, "_IDLE_BOUND_S", 0.0)
    worker = make_worker()
    with Heart(here, "dispatch", SystemClock()) as heart:
        heart.watch(worker)
        take_all(worker, installed)
        drive(worker, until=lambda: worker.trouble is None)
        heart.beat()
        assert asked() == (0, "dispatch: at work")
        worker._forget()
        installed.execute("UPDATE shards SET halted = 'for a test'")
        drive(worker, until=lambda: worker.trouble is not None)
        heart.beat()
        code, line = asked()
        assert code == 1
        assert line.startswith(f"dispatch, process {os.getpid()}: none of 4 shards assigned")


def test_a_round_that_fails_the_same_way_again_and_again_is_not_at_work(
    make_worker: MakeWorker,
) -> None:
    worker = make_worker()
    for _ in range(STUCK_FAILURES):
        assert worker.trouble is None
        worker._doubt(SaecError("out of step"))
    assert worker.trouble == "the same round fails, 20 times in a row: out of step"
    worker._outage.over()
    assert worker.trouble is None


def test_a_worker_waits_for_a_part_that_is_away_and_has_no_trouble(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every outage would have all of them restarted."""
    monkeypatch.setattr(rounds, "_IDLE_BOUND_S", 0.0)
    worker = make_worker()
    take_all(worker, installed)
    for _ in range(STUCK_FAILURES):
        worker._doubt(StoreUnavailableError("no answer"))
    worker._look_at_idleness()
    assert not worker.owned
    assert worker.trouble is None
    assert worker.waits == "waits for PostgreSQL: no answer"
    worker._outage.over()
    assert worker.waits is None
