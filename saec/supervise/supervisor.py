"""Starts SAEC's processes, starts again what ended, stops all.

Owns the children and their log files. Invariant: a child that keeps ending is started again after
ever longer pauses, and never twice at once.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import saec
from saec.clock import Clock
from saec.errors import ConfigurationError

MODULES = ("consumers.requests", "consumers.customers", "producers.dispatch", "producers.http")
FORWARDER = "consumers.requesters"  # beside them, where requesters have topics of their own
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
STABLE_AFTER_S = 30.0
STOP_TIMEOUT_S = 20.0

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Child:
    """One process. `failures` counts the ends since it last ran for a while."""

    module: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    start_again_at_s: float | None = None
    failures: int = field(default=0)


class Supervisor:
    """The processes, with `environment` as theirs. Logs go to `log_dir`/MODULE.log."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log_dir: Path,
        clock: Clock,
        tell: Tell,
        modules: Sequence[str] = MODULES,
    ) -> None:
        self._environment = environment
        self._clock = clock
        self._tell = tell
        self._children = [_Child(module, log_dir / f"{module}.log") for module in modules]

    def start(self) -> None:
        """Start all; their logs are begun anew."""
        for child in self._children:
            child.log.parent.mkdir(parents=True, exist_ok=True)
            child.log.write_bytes(b"")
            self._start(child)

    def tend(self) -> int:
        """Look after the children once; returns how many have ended since the last look."""
        return sum(self._tend(child) for child in self._children)

    def stop(self) -> None:
        """Stop all at once; what does not stop within a bound is killed."""
        for child in self._children:
            child.start_again_at_s = None
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        for child in self._children:
            _wait(child)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of those that run, by module."""
        return {
            child.module: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def log_tail(self, lines: int = 5) -> str:
        """The end of each log, for a message that says what went wrong."""
        return "\n".join(f"{child.log}:\n{_tail(child.log, lines)}" for child in self._children)

    def _start(self, child: _Child) -> None:
        root = checkout()
        path = os.pathsep.join(filter(None, (str(root), self._environment.get("PYTHONPATH"))))
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "saec.supervise.child", child.module],
                stdin=subprocess.PIPE,  # held open by this process alone: its end is theirs
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment, "PYTHONPATH": path},
                start_new_session=True,  # a terminal's Ctrl-C is for the parent to handle
            )
        child.started_at_s = self._clock.monotonic_s()
        child.start_again_at_s = None

    def _tend(self, child: _Child) -> bool:
        now_s = self._clock.monotonic_s()
        if child.start_again_at_s is not None:
            if now_s >= child.start_again_at_s:
                self._start(child)
            return False
        if child.process is None or child.process.poll() is None:
            return False
        _wait(child)
        if now_s - child.started_at_s > STABLE_AFTER_S:
            child.failures = 0
        pause_s = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
        child.failures += 1
        child.start_again_at_s = now_s + pause_s
        self._tell(
            f"{child.module} ended ({_how(child)}), starting it again in {pause_s:g} s; "
            f"its log: {child.log}"
        )
        return True


def checkout() -> Path:
    """The directory that holds `consumers/` and `producers/`.

    Raises:
        ConfigurationError: SAEC is installed as a library, without its processes.
    """
    root = Path(saec.__file__).resolve().parents[1]
    missing = [m for m in MODULES if not (root / m.replace(".", "/")).with_suffix(".py").is_file()]
    if missing:
        raise ConfigurationError(
            "SAEC's processes are not part of the installed library: run this command in a "
            "checkout of SAEC (`make up`, `make demo`), or run the image (docker-compose.yml)"
        )
    return root


def _wait(child: _Child) -> None:
    if child.process is None:
        return
    try:
        child.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    if child.process.stdin is not None:
        child.process.stdin.close()


def _how(child: _Child) -> str:
    code = child.process.returncode if child.process else 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
