"""Backup, go on, restore, recover, while requests keep arriving: as if nothing had happened.

Real processes, several of each, killed before the database is thrown back. What came out is held
against what was asked by the verdict of the survival run, which knows nothing of SAEC's state.
"""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from confluent_kafka import Producer

from faults.backup import Backup
from saec.recover.errors import RecoverError
from saec.recover.report import Report
from saec.recover.run import recover
from saec.settings import Settings
from saec.store.engine import open_engine, rows, transaction
from tests.outages.grounds import wait_until
from tests.outages.single import Process
from tests.survival.processes import Fleet
from tests.survival.run import publish, read_verdict, register
from tests.survival.verdict import Verdict
from tests.survival.workload import Customer, Request, make, make_customers

REQUESTS = 400
SETTLE_S = 300.0
ERASED = "c999"


class Story:
    """One installation, its processes, and what was asked of it."""

    def __init__(self, settings: Settings, log: IO[bytes], seed: int) -> None:
        self.settings = settings
        self.log = log
        self.chance = random.Random(seed)
        self.customers: list[Customer] = make_customers(self.chance, 200)
        self.asked: list[Request] = []
        self._publishers: list[threading.Thread] = []
        self.fleet = Fleet(settings, log)

    def ask(self, count: int, lead_s: float, seconds: float) -> None:
        """Publish requests, their cancels when they come due, in the background."""
        first_ms = int((time.time() + lead_s) * 1000)
        wave = make(self.chance, self.customers, count, first_ms, seconds)
        self.asked += wave
        publisher = threading.Thread(target=publish, args=(self.settings, wave), daemon=True)
        publisher.start()
        self._publishers.append(publisher)

    def erase(self, customer: str) -> None:
        """Publish an erasure."""
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers})
        producer.produce(self.settings.topics.customers, None, customer)
        producer.flush()

    def wait(self, seconds: float) -> None:
        """Let time pass while everything goes on."""
        threading.Event().wait(seconds)

    def kill_all(self) -> None:
        """SIGKILL: batches are open, commits unanswered."""
        for process in self.fleet._running.values():
            process.kill()
        for process in self.fleet._running.values():
            process.wait()
        self.fleet._running.clear()

    def registered(self, customer: str) -> list[tuple[object, ...]]:
        """The addresses of a customer."""
        return self.sql(f"SELECT email, phone FROM customers WHERE customer_id = '{customer}'")

    def halted(self) -> object:
        """How many shards are halted."""
        return self.sql("SELECT count(*) FROM shards WHERE halted IS NOT NULL")[0][0]

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        engine = open_engine(self.settings.database_url)
        try:
            with transaction(engine) as connection:
                return [tuple(row) for row in rows(connection, statement)]
        finally:
            engine.dispose()

    def verdict(self) -> Verdict:
        """Once everything was published and has come out."""
        for publisher in self._publishers:
            publisher.join()
        deadline_s = time.monotonic() + SETTLE_S
        while not (found := read_verdict(self.settings, self.asked)).ok:
            if time.monotonic() > deadline_s:
                return found
            self.wait(2.0)
        self.wait(2.0)  # a late double must not be missed
        return read_verdict(self.settings, self.asked)


def recover_when_quiet(settings: Settings, said: list[str]) -> Report:
    """Recover; those that were killed count as running for some seconds."""
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        try:
            return recover(settings, said.append, dry_run=False)
        except RecoverError as error:
            if "processes are running" not in str(error) or time.monotonic() > deadline_s:
                raise
        threading.Event().wait(0.5)


def refused(story: Story, folder: Path) -> None:
    """On the restored database no process works, and the recovery waits for them to be stopped."""
    settings = story.settings
    consumer = Process("consumers.requests", settings, folder / "consumer.log")
    assert "went back in time" in consumer.ends_by_itself()
    worker = Process("producers.dispatch", settings, folder / "worker.log")
    assert "went back in time" in worker.wait_for("shard halted")["why"]
    with pytest.raises(RecoverError, match=r"processes are running: .*1 of dispatch"):
        recover(settings, print, dry_run=False)
    wait_until(lambda: story.halted() == settings.shards)
    worker.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
def test_after_a_restore_nothing_is_lost_and_nothing_goes_out_twice(
    seed: int,
    make_installation: Callable[..., Settings],
    backup_of: Callable[[Settings], Backup],
    tmp_path: Path,
) -> None:
    settings = make_installation(shards=8, partitions=4)
    backup, log = backup_of(settings), tmp_path / "processes.log"
    with log.open("wb") as output:
        story = Story(settings, output, seed)
        story.fleet.start()
        try:
            gone = Customer(ERASED, frozenset())
            register(settings, [*story.customers, gone])
            story.ask(REQUESTS, lead_s=3.0, seconds=12.0)
            story.wait(6.0)
            backup.take()
            story.ask(REQUESTS, lead_s=1.0, seconds=12.0)
            story.erase(ERASED)
            story.wait(6.0)
            story.kill_all()
            story.ask(REQUESTS, lead_s=2.0, seconds=20.0)  # they keep arriving
            backup.restore()
            assert story.registered(ERASED)[0][0] is not None

            refused(story, tmp_path)
            foreseen = recover(settings, print, dry_run=True)
            said: list[str] = []
            report = recover_when_quiet(settings, said)
            print(foreseen, report, said, sep="\n")
            assert report.halted == {}
            assert report.requests == foreseen.requests > 0
            assert report.cancels == foreseen.cancels > 0
            assert report.batches == foreseen.batches > 0
            assert report.slices == foreseen.slices > 0
            assert report.undecided == 0
            assert story.registered(ERASED) == [(None, None)]
            assert len(report.cleared) == settings.shards
            assert story.halted() == 0
            assert recover(settings, print, dry_run=True).nothing
            story.fleet.start()
            verdict = story.verdict()
            died = story.fleet.died()
        finally:
            codes = story.fleet.stop()
    assert verdict.ok, f"seed {seed}\n{verdict}\n{log.read_text()[-10_000:]}"
    assert (died, set(codes)) == ([], {0})
    assert verdict.requests == 3 * REQUESTS
    assert verdict.cancelled > 0
    print(verdict)
