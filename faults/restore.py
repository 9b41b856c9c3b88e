"""PostgreSQL is replaced by an older backup, and recovered as docs/operations.md says.

Requests go on being published all the time. Owns the backup and the way back from it. Invariant:
what would be wrong at any other time (shards halted, consumers that end) is expected only here, and
only in SAEC's own words; when it is over everything runs again, or something was found.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg2
from confluent_kafka import KafkaException

from faults.backup import Backup, TableCopies
from faults.control import Control
from faults.parts import Parts
from faults.processes import WENT_BACK, Fleet
from faults.readers import answered
from faults.recovery import Recovery

PREFIX = "saec."
RESTORE = "restore a backup"
PUT_BACK = "put tables back"
RESTORES = (RESTORE, PUT_BACK)
_SOURCES = ("requests", "customers")
_AGES_S = (2.0, 5.0, 10.0)
_PROGRESS = (("requests", "answer/commit"), ("dispatch", "emit/commit"))
_PROGRESS_S = 20.0
_MANNERS = ("running", "killed", "stopped")
_NOTICE_S = 90.0
_LOOK_S = 0.2
_POSITIONS = "SELECT topic, partition, next_offset FROM positions"

Answer = TypeVar("Answer")


@dataclass
class Restore:
    """Of one installation. `down` is held by whoever stops a part."""

    parts: Parts
    fleet: Fleet
    control: Control
    stopping: threading.Event
    down: threading.Lock
    found: list[tuple[str, str]] = field(default_factory=list)
    times_ms: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calm = threading.Event()
        self.calm.set()
        self._backup = Backup(lambda statement: self.parts.sql(statement, "postgres"), "saec")
        self._tables = TableCopies(lambda: self.parts.database_url)
        self._recovery = Recovery(self.parts, self.fleet, self.control, self.found)

    def back_up(self, chance: random.Random) -> None:
        """Take a backup, and let everything go on until it lacks something."""
        with self.down, self._told("no backup"):
            self._asked(self._tables.take)
            self._asked(self._backup.take)
        before = [self.control.passed[step] for step in _PROGRESS]
        self.stopping.wait(chance.choice(_AGES_S))
        deadline_s = time.monotonic() + _PROGRESS_S
        # Before and after each commit: the first that is counted may have begun earlier.
        while any(self.control.passed[s] < b + 3 for s, b in zip(_PROGRESS, before, strict=True)):
            if time.monotonic() > deadline_s or self.stopping.wait(_LOOK_S):
                break

    def strike(self, chance: random.Random, *, in_place: bool = False) -> str:
        """Put the backup in the place of the database; come back when all is well again.

        Or put the tables back under processes that run on, `in_place`.
        """
        manner, trying, kill = chance.choice(_MANNERS), chance.random() < 0.5, chance.random() < 0.5
        manner = "running" if in_place else manner
        with self._alone():
            overlooked = self._overlook(chance)
            self._put_back(manner, overlooked, in_place=in_place)
            noticed_s = self._refused(overlooked) if manner == "running" or trying else None
            self.fleet.hold(kill=kill, spare=overlooked)
            said = self._recovery.run(chance)
        self._wake(overlooked, chance.choice((0.0, 2.0, 6.0)))
        noticed = "not tried" if noticed_s is None else f"noticed after {noticed_s:.1f} s"
        return f"processes {manner}, {overlooked} overlooked, {noticed}, {said}"

    def since_ms(self, calm_ms: int) -> int:
        """The instant since when there were `calm_ms` without any of this."""
        at_ms = _now_ms()
        times_ms = list(self.times_ms)
        if not self.calm.is_set():
            times_ms.append((self._began_ms, at_ms))
        for began_ms, ended_ms in reversed(times_ms):
            if at_ms - ended_ms >= calm_ms:
                break
            calm_ms -= at_ms - ended_ms
            at_ms = began_ms
        return at_ms - calm_ms

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other fault begins meanwhile; those that began go on."""
        self._began_ms = _now_ms()
        self.calm.clear()
        try:
            with self._told("no recovery"):
                yield
        finally:
            self.fleet.expect_refusals(expecting=False)
            self.fleet.resume()
            self.times_ms.append((self._began_ms, _now_ms()))
            self.calm.set()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self.stopping.is_set():
                self.found.append(("recoveries failed", f"{what}: {error!r}"))
            raise

    def _overlook(self, chance: random.Random) -> str | None:
        """Whom the operator does not see: it hangs until all is over, and goes on where it was."""
        if chance.random() < 0.6:
            return None
        member = chance.choice(list(self.fleet.members.values()))
        member.signal(signal.SIGSTOP)
        return member.name

    def _wake(self, overlooked: str | None, seconds: float) -> None:
        member = self.fleet.members.get(overlooked or "")
        if member is not None:
            self.stopping.wait(seconds)
            member.signal(signal.SIGCONT)

    def _put_back(self, manner: str, overlooked: str | None, *, in_place: bool) -> None:
        if manner != "running":
            self.fleet.hold(kill=manner == "killed", spare=overlooked)
        self.fleet.expect_refusals(expecting=True)
        with self.down:
            if in_place:
                self._asked(self._tables.put_back)  # a deadlock ends it: then again
            else:
                self._backup.restore()

    def _refused(self, overlooked: str | None) -> float:
        """On the restored database consumers end and shards halt by themselves; after how long."""
        began_s = time.monotonic()
        behind = self._asked(self._behind)
        self.fleet.resume()
        while behind and not self._asked(lambda: self._is_noticed(behind, overlooked)):
            if self.stopping.wait(_LOOK_S):
                break  # something else was found
            if time.monotonic() > began_s + _NOTICE_S:
                said = f"{self._halts()}, {sorted(self.fleet.refused)}"
                self.found.append(("restores not noticed", f"{sorted(behind)} are ahead: {said}"))
                break
        return time.monotonic() - began_s

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """The answer, as soon as the parts give one."""
        deadline_s = time.monotonic() + _NOTICE_S
        while True:
            try:
                return ask()
            except (psycopg2.Error, KafkaException):
                if time.monotonic() > deadline_s or self.stopping.wait(_LOOK_S):
                    raise

    def _behind(self) -> set[str]:
        """The sources that were answered further than the restored database knows."""
        saved = {
            (topic, partition): int(offset)
            for topic, partition, offset in self.parts.sql(_POSITIONS)
        }
        return {
            role
            for role in _SOURCES
            for partition, offset in self._answered(role).items()
            if saved.get((f"{PREFIX}{role}", partition), 0) < offset
        }

    def _answered(self, role: str) -> dict[int, int]:
        return answered(self.parts.bootstrap_servers, f"{PREFIX}{role}", f"{PREFIX}{role}")

    def _is_noticed(self, behind: set[str], overlooked: str | None) -> bool:
        consumers = {member.name for role in behind for member in self.fleet.of(role)}
        return all(self._halts()) and consumers - {overlooked} <= self.fleet.refused.keys()

    def _halts(self) -> list[bool]:
        """Of each shard, whether it is halted; a halt for another reason is a finding."""
        halts = [why for (why,) in self.parts.sql("SELECT halted FROM shards ORDER BY shard")]
        others = {why for why in halts if why is not None and WENT_BACK not in why}
        self.found += [("shards halted", str(why)) for why in others]
        return [why is not None for why in halts]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
