"""Several of each SAEC process, each behind proxies of its own, killed and started again.

Owns the processes. Invariant: whoever ends without having been told to is a finding, and every
process has ended when `stop` returns.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults.launcher import CONTROL, MUTATION
from faults.parts import Parts
from faults.proxy import HOST, Proxy
from faults.workload import SLICE_RECIPIENTS

ROOT = Path(__file__).resolve().parents[1]
STOP_S = 15.0
TRANSACTION_TIMEOUT_S = 6
BATCH_MESSAGES = 20  # so few that in a backlog of seconds one batch is ahead
_WATCH_S = 0.1
_TOLD = {0, -signal.SIGTERM, 143}  # told to stop; the last two in its first second
WENT_BACK = "went back in time"
_REFUSED = 3


@dataclass(eq=False)
class Member:
    """A process of the fleet; its name is role and number."""

    name: str
    kafka: Proxy
    postgres: Proxy
    process: "subprocess.Popen[bytes] | None" = None
    doomed: bool = False
    log_from: int = 0
    resting: threading.Event = field(default_factory=threading.Event)

    @property
    def role(self) -> str:
        """requests, customers or dispatch."""
        return self.name.partition("-")[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is there to hear it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Fleet:
    """The processes of one installation."""

    def __init__(self, parts: Parts, control: Path, logs: Path, mutation: str | None) -> None:
        self._parts = parts
        self._control = control
        self._logs = logs
        self._mutation = mutation
        self._watching = True
        self._held = self._expecting = False
        self._lock = threading.RLock()
        self.members: dict[str, Member] = {}
        self._leaving: dict[str, Member] = {}
        self.ended: list[str] = []
        self.refused: dict[str, str] = {}
        self.kills: Counter[str] = Counter()
        self.starts = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def add(self, name: str) -> Member:
        """Start one more process."""
        member = Member(name, self._parts.kafka_proxy(), self._parts.postgres_proxy())
        with self._lock:
            if not self._held:
                self._start(member)
            self.members[name] = member
        return member

    def of(self, role: str) -> list[Member]:
        """The processes of a role."""
        return [member for member in list(self.members.values()) if member.role == role]

    def doom(self, name: str) -> None:
        """The process is about to be killed, by itself or by us; it will be started again."""
        with self._lock:
            member = self.members.get(name) or self._leaving.get(name)
            if member is not None and not member.doomed:
                member.doomed = True
                self.kills[member.role] += 1

    def kill(self, name: str) -> None:
        """SIGKILL."""
        member = self.members.get(name)
        if member is not None and member.process is None:
            return  # it is held
        self.doom(name)
        if member is not None:
            member.signal(signal.SIGKILL)

    def restart(self, name: str, pause_s: float) -> None:
        """SIGTERM, wait, start again after a pause; the exit code must be 0."""
        member = self.members[name]
        with self._lock:
            if self._held or member.resting.is_set():
                return  # somebody else does
            member.resting.set()
        self._end(member)
        threading.Event().wait(pause_s)
        with self._lock:
            member.resting.clear()

    def remove(self, name: str) -> None:
        """SIGTERM, and never again."""
        with self._lock:
            member = self._leaving[name] = self.members.pop(name)
            told = member.resting.is_set()
        if not told:
            self._tell_to_stop(member)
        self._wait_stopped(member)
        member.kafka.close()
        member.postgres.close()

    def hold(self, *, kill: bool, spare: str | None = None) -> None:
        """End all but one, by SIGKILL or SIGTERM, and start none until `resume`."""
        with self._lock:
            self._held = True
            members = [member for member in self.members.values() if member.name != spare]
        for member in members:
            if kill:
                self.kill(member.name)
            elif not member.resting.is_set():
                self._tell_to_stop(member)
        for member in members:
            self._wait_stopped(member)
            member.process = None

    def resume(self) -> None:
        """Start all that were held, and all that refused."""
        with self._lock:
            self._held = False

    def expect_refusals(self, *, expecting: bool) -> None:
        """Whether one may end that says that the database went back in time; it stays down then."""
        with self._lock:
            self.refused = {}
            self._expecting = expecting

    def mend(self) -> None:
        """Let everything through, and wake up whoever is stopped."""
        for member in list(self.members.values()):
            member.kafka.mend()
            member.postgres.mend()
            member.signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM to all."""
        self._watching = False
        with self._lock:
            members, self.members = list(self.members.values()), {}
        for member in members:
            if not member.resting.is_set():
                self._tell_to_stop(member)
        for member in members:
            self._wait_stopped(member)
            member.kafka.close()
            member.postgres.close()

    def _end(self, member: Member) -> None:
        self._tell_to_stop(member)
        self._wait_stopped(member)

    def _tell_to_stop(self, member: Member) -> None:
        member.signal(signal.SIGCONT)
        member.signal(signal.SIGTERM)  # once: the second one would end it at once

    def _wait_stopped(self, member: Member) -> None:
        process = member.process
        if process is None:
            return
        deadline_s = time.monotonic() + STOP_S
        while process.poll() is None and time.monotonic() < deadline_s:
            member.signal(signal.SIGCONT)  # a trap may have stopped it on its way out
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        if process.poll() is None:
            self.ended.append(f"{member.name} did not stop within {STOP_S} s")
            member.doomed = True
            process.kill()
        code = process.wait()
        self._account(member, code, f"exited with {code} on SIGTERM")

    def _watch(self) -> None:
        pause = threading.Event()
        while self._watching:
            pause.wait(_WATCH_S)
            with self._lock:
                for member in list(self.members.values()):
                    self._look_at(member)

    def _look_at(self, member: Member) -> None:
        if not self._watching or self._held or member.resting.is_set():
            return
        if member.process is not None:
            code = member.process.poll()
            if code is None:
                return
            self._account(member, code, f"ended by itself with {code}")
        if not self._expecting or member.name not in self.refused:
            self._start(member)

    def _account(self, member: Member, code: int, how: str) -> None:
        if member.doomed or code in _TOLD:
            return
        said = self._said_last(member)
        if self._expecting and code == _REFUSED and WENT_BACK in said:
            self.refused[member.name] = said
            member.process = None
        else:
            self.ended.append(f"{member.name} {how}")

    def _said_last(self, member: Member) -> str:
        said = self._log(member).read_bytes()[member.log_from :].decode(errors="replace")
        return said.rstrip().rpartition("\n")[2]

    def _log(self, member: Member) -> Path:
        return self._logs / f"{member.name}.log"

    def environment(self, bootstrap_servers: str, database_url: str) -> dict[str, str]:
        """The settings of every process of this installation."""
        environment = os.environ | {
            "SAEC_BOOTSTRAP_SERVERS": bootstrap_servers,
            "SAEC_DATABASE_URL": database_url,
            "SAEC_TRANSACTION_TIMEOUT_S": str(TRANSACTION_TIMEOUT_S),
            "SAEC_SLICE_RECIPIENTS": str(SLICE_RECIPIENTS),
            "SAEC_DISPATCH_BATCH_MESSAGES": str(BATCH_MESSAGES),
            "SAEC_LOG_LEVEL": "debug",
            CONTROL: str(self._control),
        }
        if self._mutation:
            environment[MUTATION] = self._mutation
        return environment

    def _start(self, member: Member) -> None:
        environment = self.environment(
            f"{HOST}:{member.kafka.port}",
            f"postgresql://postgres@{HOST}:{member.postgres.port}/saec",
        )
        member.doomed = False
        with suppress(OSError):
            member.kafka.cut()
            member.postgres.cut()
        self.starts += 1
        with self._log(member).open("ab") as log:
            member.log_from = log.tell()
            member.process = subprocess.Popen(
                [sys.executable, "-m", "faults.launcher", member.role, member.name],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
