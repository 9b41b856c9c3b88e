"""One part as a child process of the keeper.

Invariant: whoever starts a part writes its pid file first thing, and removes it only when the part
is gone; a pid file that names a process with another command line is never acted upon.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saec.embedded.errors import EmbeddedStackError, optional_module

LOG_TAIL_LINES = 20


class PartEndedError(EmbeddedStackError):
    """A part ended by itself while it was starting; the message has the end of its log."""


@dataclass(frozen=True)
class Account:
    """A user and a group of this machine, by number."""

    user: int
    group: int


def run_as(account: Account | None) -> dict[str, Any]:
    """What subprocess needs to run a program as `account`; None: as ourselves."""
    if account is None:
        return {}
    return {"user": account.user, "group": account.group, "extra_groups": []}


class Part:
    """A child process with a log file and a pid file. `mark` is in its command line only."""

    def __init__(self, name: str, directory: Path, mark: str) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._mark = mark
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running part."""
        if self._process is None:
            raise EmbeddedStackError(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True while the child lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, argv: Sequence[str | Path], account: Account | None = None) -> None:
        """Start the child; its output goes to the log file, which is begun anew."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=plain_environment(),
                **run_as(account),
            )
        self._pid_file.write_text(f"{self._process.pid}\n")
        # Whoever kills a part waits for it to be gone: leave no zombie.
        threading.Thread(target=self._process.wait, daemon=True).start()

    def wait_until(
        self, ready: Callable[[], bool], stop: threading.Event, timeout_s: float, pause_s: float
    ) -> None:
        """Ask `ready` until it says so; stop early when the child ends or `stop` is set."""
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            if not self.is_running:
                raise PartEndedError(f"{self.name} ended while starting.{self._log_tail()}")
            if time.monotonic() > deadline_s:
                raise EmbeddedStackError(
                    f"{self.name} was not ready within {timeout_s:.0f} s.{self._log_tail()}"
                )
            if stop.wait(pause_s):
                raise EmbeddedStackError(f"{self.name} was told to stop while starting")

    def stop(self, how: signal.Signals, timeout_s: float) -> None:
        """Ask the child to end, and kill it when it takes longer than `timeout_s`."""
        if self._process is None:
            return
        if self.is_running:
            self._process.send_signal(how)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pid_file.unlink(missing_ok=True)

    def end_leftover(self, how: signal.Signals, timeout_s: float) -> None:
        """End what a keeper that was killed left running on this data directory."""
        psutil = optional_module("psutil")
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if any(self._mark in argument for argument in process.cmdline()):
                process.send_signal(how)
                if psutil.wait_procs([process], timeout_s)[1]:
                    process.kill()
                    process.wait(timeout_s)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pass
        self._pid_file.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f" The end of {self.log}:", *lines])


def plain_environment() -> dict[str, str]:
    """What a part inherits: no settings of SAEC, of the JVM or of libpq.

    The locale is fixed, or Java would read the names of files as ASCII.
    """
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8"}
