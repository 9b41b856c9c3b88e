"""An installation that works, with its real processes, has nothing to say but its one replica."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saec.doctor.examine import BOTH, FIRST, KAFKA, STORE, Report
from saec.doctor.findings import Level
from saec.settings import Settings
from saec.supervise.endpoint import free_port
from saec.supervise.supervisor import MODULES
from tests.cli.conftest import environment
from tests.dispatch.kit import Installed

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0


@pytest.fixture
def running(installed: Installed, tmp_path: Path) -> Iterator[Settings]:
    """The four processes."""
    started, port = [], {"SAEC_HTTP_PORT": str(free_port("127.0.0.1", 0))}
    for module in MODULES:
        with (tmp_path / f"{module}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", module],
                    cwd=ROOT,
                    env=os.environ | environment(installed.settings) | port,
                    stderr=log,
                )
            )
    yield installed.settings
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)


def test_all_is_well(running: Settings, report: Callable[..., Report]) -> None:
    until_s, tries = time.monotonic() + DEADLINE_S, threading.Event()
    bad = None
    while bad != {("replication", Level.WARNING)}:
        assert time.monotonic() < until_s, bad
        tries.wait(0.2)
        said = report()
        bad = {(f.check, f.level) for f in said.findings if f.level is not Level.OK}
    assert said.level is Level.WARNING
    assert [f.check for f in said.findings] == ["kafka", "schema", *KAFKA, *STORE, *BOTH]
    assert set(FIRST) - {"postgresql"} <= {f.check for f in said.findings}
