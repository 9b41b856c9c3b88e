"""Several of each SAEC process, killed at random and started again.

Invariant: every process started here has ended when `stop` returns.
"""

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from saec.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("consumers.requests", "consumers.customers", "producers.dispatch")
STOP_TIMEOUT_S = 60


@dataclass
class Fleet:
    """`each` processes of every kind, with one log file for all."""

    settings: Settings
    log: IO[bytes]
    each: int = 2
    extra_env: dict[str, str] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    _running: dict[tuple[str, int], "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self) -> None:
        """Start all of them."""
        for module in MODULES:
            for number in range(self.each):
                self._start(module, number)

    def kill_one(self, chance: random.Random) -> str:
        """SIGKILL one of them, and start its successor; returns which."""
        module, number = chance.choice(sorted(self._running))
        process = self._running[module, number]
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
        self.kills[module] = self.kills.get(module, 0) + 1
        self._start(module, number)
        return f"{module} {number}"

    def running(self, module: str) -> "subprocess.Popen[bytes]":
        """The first process of a kind."""
        return self._running[module, 0]

    def died(self) -> list[str]:
        """Those that ended by themselves."""
        return [
            f"{module} {number} with {process.returncode}"
            for (module, number), process in self._running.items()
            if process.poll() is not None
        ]

    def stop(self) -> list[int]:
        """SIGTERM to all; returns their exit codes."""
        for process in self._running.values():
            process.terminate()
        codes = []
        for process in self._running.values():
            try:
                codes.append(process.wait(STOP_TIMEOUT_S))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        self._running.clear()
        return codes

    def _start(self, module: str, number: int) -> None:
        environment = os.environ | {
            "SAEC_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "SAEC_DATABASE_URL": self.settings.database_url,
            "SAEC_TOPIC_PREFIX": self.settings.topic_prefix,
            **self.extra_env,
        }
        self._running[module, number] = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=environment, stderr=self.log
        )
