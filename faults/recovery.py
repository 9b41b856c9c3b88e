"""What an operator does after a restore, once all processes are stopped: `saec recover`.

First dry, then for real, again after whatever interrupts it, and dry once more. Invariant: what
does not end well within a bound, or leaves something to recover, is a finding.
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from faults.control import Control, Trap
from faults.parts import Parts
from faults.processes import ROOT, Fleet
from faults.recovering import ROLE, STEPS

_FAILED = "recoveries failed"
_COUNTS = ("requests", "cancels", "ahead", "batches", "slices")
_FORESEEN = ("requests", "cancels", "batches", "slices")
_NOTHING = ("requests_read", "customers_read", "batches", "cleared")
_WITH_COMMITS = ("take shards", "store requests", "roll forward", "restore cancels", "finish")
_CARDS = (*STEPS, *(f"{step}/store commit" for step in _WITH_COMMITS))
_BOUND_S = 120.0
_RETRY_S = 0.5
_PATIENCE_S = 20.0
_COMPANY = "processes are running"
_UNAVAILABLE = 3

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recovery:
    """Recovers one installation, of which no process runs. Adds to `found` what went wrong."""

    parts: Parts
    fleet: Fleet
    control: Control
    found: list[tuple[str, str]]

    def run(self, chance: random.Random) -> str:
        """Recover; what it said, in short."""
        began_s = time.monotonic()
        foreseen = self._until_done("--dry-run")
        traps = [
            self.control.arm(Trap((ROLE, chance.choice(_CARDS)), when, "die"))
            for when in chance.choice(((), (), ("before",), ("after",), ("before", "after")))
        ]
        report = self._until_done()
        for trap in traps:
            self.control.disarm(trap)
        died = [f"{trap.when} {trap.step[1]}" for trap in traps if trap.hit.is_set()]
        left = self._until_done("--dry-run")
        self._check(foreseen, report, left, interrupted=bool(died))
        counts = ", ".join(f"{name} {report.get(name)}" for name in _COUNTS)
        killed = f", killed {' and '.join(died)}" if died else ""
        return f"recovered in {time.monotonic() - began_s:.1f} s{killed}: {counts}"

    def _check(self, foreseen: Report, report: Report, left: Report, *, interrupted: bool) -> None:
        if not (foreseen and report and left):
            return  # that was a finding already
        # A transaction that was open when it was foreseen may have been committed since.
        less = [name for name in _FORESEEN if report[name] < foreseen[name]]
        if less and not interrupted:
            self._fail(f"{less} of {report} are less than was foreseen: {foreseen}")
        if report["undecided"]:
            self._fail(f"cancels were decided anew, although their answers are kept: {report}")
        if any(left[name] for name in _NOTHING):
            self._fail(f"something was left to recover: {left}")

    def _until_done(self, *options: str) -> Report:
        """Run it until it is done: processes that were killed count for a while, parts restart."""
        began_s = time.monotonic()
        while True:
            done = self._command(*options)
            if done.returncode == 0:
                report: Report = json.loads(done.stdout)
                return report
            said = (done.stdout + done.stderr)[-1_000:]
            for_s = time.monotonic() - began_s
            if _COMPANY in said and for_s > _PATIENCE_S:
                self.fleet.hold(kill=True)  # somebody is alive who was thought to be gone
            passing = done.returncode in {_UNAVAILABLE, -signal.SIGKILL}
            if not passing or for_s > _BOUND_S:
                self._fail(f"{' '.join(done.args[2:])} ended with {done.returncode}: {said}")
                return {}
            threading.Event().wait(_RETRY_S)

    def _command(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "faults.recovering", "recover", "--json", *options],
            cwd=ROOT,
            env=self.fleet.environment(self.parts.bootstrap_servers, self.parts.database_url),
            capture_output=True,
            text=True,
            timeout=_BOUND_S,
            check=False,
        )

    def _fail(self, why: str) -> None:
        self.found.append((_FAILED, why))
