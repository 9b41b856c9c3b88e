"""Children are started again with ever longer pauses, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from saec.errors import ConfigurationError
from saec.supervise import supervisor
from saec.supervise.supervisor import BACKOFF_S, STABLE_AFTER_S, Supervisor, checkout

LIVES = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"


class Clock:
    """Time that the test moves."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        self.now_s += timeout_s
        return stop.is_set()


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Where modules can be put that children run."""
    (tmp_path / "dies.py").write_text("raise SystemExit(5)")
    (tmp_path / "lives.py").write_text(LIVES)
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


def make(modules: Path, clock: Clock, told: list[str], module: str) -> Supervisor:
    variables = {**os.environ, "PYTHONPATH": str(modules)}
    return Supervisor(variables, modules / "logs", clock, told.append, [module])


def end(children: Supervisor) -> None:
    """Wait until the child has ended by itself, without taking its exit code away."""
    for pid in children.pids.values():
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_child_that_keeps_ending_waits_longer_each_time(
    modules: Path, clock: Clock, told: list[str]
) -> None:
    children = make(modules, clock, told, "dies")
    children.start()
    for pause_s in (*BACKOFF_S, BACKOFF_S[-1]):
        end(children)
        assert children.tend() == 1
        assert f"(exit code 5), starting it again in {pause_s:g} s" in told[-1]
        clock.now_s += pause_s - 0.01
        assert children.tend() == 0
        assert children.pids == {}
        clock.now_s += 0.02
        assert children.tend() == 0
    end(children)
    children.stop()


def test_a_child_that_ran_for_a_while_is_started_again_at_once(
    modules: Path, clock: Clock, told: list[str]
) -> None:
    children = make(modules, clock, told, "lives")
    children.start()
    for _ in range(2):
        os.kill(children.pids["lives"], signal.SIGKILL)
        end(children)
        clock.now_s += STABLE_AFTER_S + 1
        children.tend()
        assert f"(signal 9), starting it again in {BACKOFF_S[0]:g} s" in told[-1]
        clock.now_s += BACKOFF_S[0]
        children.tend()
    assert list(children.pids) == ["lives"]
    children.stop()
    assert children.pids == {}


PARENT = """
import os, sys
from pathlib import Path
from saec.clock import SystemClock
from saec.supervise.supervisor import Supervisor
children = Supervisor(dict(os.environ), Path(sys.argv[1]), SystemClock(), print, ["holds"])
children.start()
sys.stdin.read()
"""
HOLDS = """
import os, signal, sys
pipe = open(os.environ["HELD"], "wb", buffering=0)
pipe.write(b"ready")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
"""


@pytest.fixture
def held(modules: Path) -> Path:
    """A pipe that the child holds open for as long as it lives."""
    (modules / "holds.py").write_text(HOLDS)
    path = modules / "held"
    os.mkfifo(path)
    return path


def test_a_child_ends_when_its_parent_is_killed(modules: Path, held: Path) -> None:
    root = checkout()
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(modules)]),
        "HELD": str(held),
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(modules / "logs")], stdin=subprocess.PIPE, env=variables
    )
    with held.open("rb", buffering=0) as pipe, parent:
        assert pipe.read(5) == b"ready"
        parent.kill()
        assert pipe.read() == b""  # the end of the pipe: the child is gone


def test_a_library_without_processes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor.saec, "__file__", str(tmp_path / "saec" / "__init__.py"))
    with pytest.raises(ConfigurationError, match="checkout"):
        checkout()
