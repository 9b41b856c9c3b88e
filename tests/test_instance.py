"""SAEC_INSTANCE: a worker with a stable name has its shards back long before its session ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from saec.settings import Settings
from saec.store import shards
from saec.store.engine import Engine, open_engine, transaction

ROOT = Path(__file__).resolve().parents[1]
SESSION_S = 6.0


def start(settings: Settings, log: Path, name: str | None) -> "subprocess.Popen[bytes]":
    """A dispatch worker."""
    environment = os.environ | {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
    }
    if name is not None:
        environment["SAEC_INSTANCE"] = name
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "producers.dispatch"], cwd=ROOT, env=environment, stderr=output
        )


def owners(engine: Engine, settings: Settings) -> set[str | None]:
    """Who owns the shards."""
    with transaction(engine) as connection:
        seen = shards.look(connection, range(settings.shards))
    return {look.owner for look in seen.values()}


def wait_until(condition: Callable[[], bool]) -> float:
    """Wait for a condition; returns how many seconds it took."""
    began_s, never = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() < began_s + 30, "the condition did not come true"
        never.wait(0.05)
    return time.monotonic() - began_s


@pytest.mark.parametrize("name", ["w1", None])
def test_a_killed_worker_has_its_shards_back_at_once_only_if_it_has_a_name(
    name: str | None, installation: Settings, tmp_path: Path
) -> None:
    engine, log = open_engine(installation.database_url), tmp_path / "log"
    first = start(installation, log, name)
    try:
        wait_until(lambda: None not in owners(engine, installation))
        before = owners(engine, installation)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    second = start(installation, log, name)
    try:
        took_s = wait_until(lambda: not owners(engine, installation) & before)
    finally:
        second.terminate()
        code = second.wait(15)
        engine.dispose()
    assert (took_s < SESSION_S - 1) == (name is not None), log.read_text()
    assert code == 0, log.read_text()
