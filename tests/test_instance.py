"""SAEC_INSTANCE: a worker with a stable name has its shards back before its session ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from saec.settings import Settings
from saec.store import shards
from saec.store.engine import Engine, open_engine, transaction
from tests.outages.grounds import wait_until

ROOT = Path(__file__).resolve().parents[1]
HANGS_S = 60
# The session of a worker that was killed does not end while a test lasts.
BOUNDS = {"BOUNDS": "saec.kafka.membership.SESSION_MS=300_000"}


def start(settings: Settings, log: Path, name: str | None) -> "subprocess.Popen[bytes]":
    """A dispatch worker."""
    environment = os.environ | {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
        **BOUNDS,
    }
    if name is not None:
        environment["SAEC_INSTANCE"] = name
    with log.open("ab") as output:
        command = [sys.executable, "-m", "tests.patient", "producers.dispatch"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=output)


def owners(engine: Engine, settings: Settings) -> set[str | None]:
    """Who owns the shards."""
    with transaction(engine) as connection:
        seen = shards.look(connection, range(settings.shards))
    return {look.owner for look in seen.values()}


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
        first.wait(HANGS_S)
    second = start(installation, log, name)
    try:
        if name is not None:
            wait_until(lambda: not owners(engine, installation) & before)
        else:
            wait_until(lambda: log.read_text().count('"ready"') == 2)
            threading.Event().wait(3.0)  # more than a worker takes that need not wait
            assert owners(engine, installation) == before
    finally:
        second.terminate()
        code = second.wait(HANGS_S)
        engine.dispose()
    assert code == 0, log.read_text()
