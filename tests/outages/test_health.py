"""The health check of real processes: at work, frozen, without PostgreSQL or Kafka, and ended."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from saec.health import beat
from saec.health.__main__ import examine
from saec.health.judge import STANDS_AFTER_S, Verdict
from saec.settings import Settings
from tests.outages.grounds import Grounds, wait_until
from tests.outages.single import Process

EVERY = ("consumers.requests", "producers.dispatch")
Start = Callable[..., Process]


@pytest.fixture(scope="module")
def settings(ruin: Callable[..., Settings]) -> Settings:
    """One installation for all."""
    return ruin(shards=4, partitions=2)


@pytest.fixture
def here(settings: Settings, tmp_path: Path) -> Settings:
    """The same, whose processes speak in a directory of this test."""
    return settings.model_copy(update={"runtime_dir": tmp_path})


@pytest.fixture
def processes(start: Start, here: Settings) -> list[Process]:
    """A consumer and a worker, at work."""
    made = [start(module, SAEC_RUNTIME_DIR=str(here.runtime_dir)) for module in EVERY]
    for process in made:
        wait_until(lambda role=process.role: is_at_work(here, role))
    return made


def now(settings: Settings, role: str, later_s: float = 0.0) -> Verdict:
    return examine(settings, role, time.monotonic() + later_s)


def is_at_work(settings: Settings, role: str) -> bool:
    return now(settings, role) == Verdict(True, f"{role}: at work")


def waits_for(settings: Settings, role: str, part: str) -> bool:
    verdict = now(settings, role)
    return verdict.healthy and f": waits for {part}: " in verdict.line


def turned_s(settings: Settings, role: str) -> float:
    (found,) = beat.read(settings, role)
    return found.turned_s


def test_a_frozen_process_is_found_and_one_that_ended_is_none(
    processes: list[Process], here: Settings
) -> None:
    for process in processes:
        process.child.send_signal(signal.SIGSTOP)
        frozen_s = turned_s(here, process.role)
        assert is_at_work(here, process.role)  # not yet
        verdict = now(here, process.role, STANDS_AFTER_S + 1)
        assert not verdict.healthy
        assert f"process {process.child.pid}: stands for " in verdict.line
        process.child.send_signal(signal.SIGCONT)
        wait_until(lambda role=process.role, s=frozen_s: turned_s(here, role) > s)
    for process in processes:
        process.child.kill()
        process.child.wait()
        assert now(here, process.role).line.startswith(f"{process.role}: no such process")


@pytest.mark.parametrize("part", ["PostgreSQL", "Kafka"])
def test_who_waits_for_a_part_is_healthy_and_names_it(
    part: str, start: Start, here: Settings, grounds: Grounds
) -> None:
    proxy = grounds.postgres if part == "PostgreSQL" else grounds.kafka
    proxy.refuse()
    try:
        made = [start(module, SAEC_RUNTIME_DIR=str(here.runtime_dir)) for module in EVERY]
        for process in made:
            wait_until(lambda role=process.role: waits_for(here, role, part))
    finally:
        proxy.mend()
    for process in made:
        wait_until(lambda role=process.role: is_at_work(here, role))
        process.stop()
        assert now(here, process.role).line.startswith(f"{process.role}: no such process")


def test_an_outage_of_postgresql_in_the_middle_leaves_a_worker_healthy(
    processes: list[Process], here: Settings, grounds: Grounds
) -> None:
    _, worker = processes
    grounds.postgres.refuse()
    try:
        wait_until(lambda: waits_for(here, worker.role, "PostgreSQL"))
        before_s = turned_s(here, worker.role)
        wait_until(lambda: turned_s(here, worker.role) > before_s)
    finally:
        grounds.postgres.mend()
    wait_until(lambda: is_at_work(here, worker.role))
