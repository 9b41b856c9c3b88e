"""One SAEC process, started, watched and stopped by a test."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from saec.settings import Settings
from tests.outages.grounds import wait_until
from tests.survival.processes import ROOT

STOP_S = 60.0
"""By when a process has ended that does not hang."""


class Process:
    """One process of an installation; with `BOUNDS` in its environment see tests/patient.py."""

    def __init__(self, module: str, settings: Settings, log: Path, **environment: str) -> None:
        self.log = log
        patient = ["tests.patient"] if "BOUNDS" in environment else []
        self.role = module.rpartition(".")[2]
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", *patient, module],
                cwd=ROOT,
                env=os.environ
                | {
                    "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
                    "SAEC_DATABASE_URL": settings.database_url,
                    "SAEC_TOPIC_PREFIX": settings.topic_prefix,
                    "SAEC_LOG_LEVEL": "debug",
                    **environment,
                },
                stderr=output,
            )

    def has_said(self, event: str) -> bool:
        """Whether its log has an event."""
        assert self.child.poll() is None, self.log.read_text()
        return f'"event": "{event}"' in self.log.read_text()

    def stop(self) -> None:
        """SIGTERM; it exits with 0."""
        self.child.terminate()
        self.wait_stopped()

    def stop_or_ended(self) -> None:
        """SIGTERM, unless it has ended by itself with 3, as what a person has to repair."""
        self.child.terminate()
        code = self.child.wait(STOP_S)
        assert code in (0, 3), self.log.read_text()

    def wait_stopped(self) -> None:
        """Wait for what was told to stop to exit with 0."""
        code = self.child.wait(STOP_S)
        assert code == 0, self.log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; each line is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def ends_by_itself(self) -> str:
        """Wait until it ends with 3, as what a person has to repair; returns what it said last."""
        code = self.child.wait(60)
        assert code == 3, (code, self.log.read_text())
        last = self.lines()[-1]
        assert (last["event"], last["level"]) == ("stopped", "error")
        return str(last["error"])

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until it says something; returns that line."""
        wait_until(lambda: self.has_said(event))
        return next(line for line in self.lines() if line["event"] == event)
