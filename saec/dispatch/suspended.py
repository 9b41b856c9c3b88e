"""The shards assigned to a worker that it does not dispatch: halted ones, and ones that it awaits.

Invariant: a halt stands in the database, where a person reads and clears it; what could not be
written down yet is written before anything is taken over. Waiting becomes a halt only when one
transaction has hung at one place for `HANGING_BOUND_S`; and nothing is suspended untold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from saec.clock import Clock
from saec.dispatch.errors import HaltError
from saec.dispatch.takeover import Waiting
from saec.outage import Reminder
from saec.store import shards
from saec.store.engine import BRIEF, Engine, transaction

HANGING_BOUND_S = 300.0
_LOOK_AGAIN_S = 10.0
_TRY_AGAIN_S = (0.5, 0.5, 1.0, 2.0, 5.0)
_COSTLIER = 6  # what takes seconds is tried so much more rarely
_TELL_AFTER_S = 5.0
_HANGS = "a transaction hangs in its ledger: the broker lost its end"

_log = structlog.get_logger("saec.dispatch")


@dataclass(frozen=True, slots=True)
class _Wait:
    """Since when a shard waits, and since when for the same transaction."""

    waiting: Waiting
    since_s: float
    open_since_s: float


class Suspended:
    """What is suspended, and until when. A shard that hangs for `hanging_bound_s` is halted."""

    def __init__(
        self, engine: Engine, clock: Clock, hanging_bound_s: float = HANGING_BOUND_S
    ) -> None:
        self.halted: dict[int, str] = {}
        self._engine = engine
        self._clock = clock
        self._hanging_bound_s = hanging_bound_s
        self._waits: dict[int, _Wait] = {}
        self._tries = 0
        self._unwritten: dict[int, str] = {}
        self._look_again_s = self._try_again_s = 0.0
        self._reminder = Reminder(clock)

    @property
    def waiting(self) -> dict[int, str]:
        """The shards that are tried again, and why they could not be taken over."""
        return {shard: wait.waiting.why for shard, wait in self._waits.items()}

    @property
    def awaits(self) -> str | None:
        """What one of those waits for, in words; None when none waits. From any thread."""
        waiting = self.waiting
        if not waiting:
            return None
        shard = min(waiting)
        return f"{len(waiting)} shards wait, as shard {shard}: {waiting[shard]}"

    def out(self) -> frozenset[int]:
        """The shards not to be taken over now."""
        now_s = self._clock.monotonic_s()
        halted = self.halted if now_s < self._look_again_s else {}
        waiting = self._waits if now_s < self._try_again_s else {}
        return frozenset(halted) | frozenset(waiting) | frozenset(self._unwritten)

    def halt(self, error: HaltError) -> None:
        """Suspend shards until a person clears them."""
        self._unwritten |= error.reasons
        self.found_halted(error.reasons)

    def found_halted(self, reasons: Mapping[int, str]) -> None:
        """Take note of what the database says is halted; it is asked again from time to time."""
        if reasons:
            self._look_again_s = self._clock.monotonic_s() + _LOOK_AGAIN_S
            self.halted = {**self.halted, **reasons}
        self._waits = {s: wait for s, wait in self._waits.items() if s not in reasons}
        for shard, why in reasons.items():
            if self._reminder.is_due((shard, why)):
                _log.error(
                    "shard halted", shard=shard, why=why, next="docs/operations.md, Halted shards"
                )

    def write_down(self) -> None:
        """Write the halts that are not in the database yet.

        Raises:
            StoreUnavailableError: no answer.
        """
        if self._unwritten:
            with transaction(self._engine, bounds=BRIEF) as connection:
                shards.mark_halted(connection, self._unwritten)
            self._unwritten = {}

    def tried(self, taken: frozenset[int], waiting: Mapping[int, Waiting]) -> None:
        """Take note of a takeover: which shards it took, and which have to wait.

        Raises:
            HaltError: a transaction hangs, in a ledger of which every replica is at work.
        """
        now_s = self._clock.monotonic_s()
        self.halted = {s: why for s, why in self.halted.items() if s not in taken}
        left = {shard: wait for shard, wait in self._waits.items() if shard not in taken}
        self._waits = left | {s: _longer(left.get(s), one, now_s) for s, one in waiting.items()}
        self._tries = self._tries + 1 if self._waits else 0
        costly = any(wait.waiting.costly for wait in self._waits.values())
        pause_s = _TRY_AGAIN_S[min(self._tries, len(_TRY_AGAIN_S)) - 1]
        self._try_again_s = now_s + pause_s * (_COSTLIER if costly else 1)
        self._tell_waiting(now_s)
        overdue = [
            shard
            for shard, wait in self._waits.items()
            if wait.waiting.open_at is not None
            and now_s - wait.open_since_s > self._hanging_bound_s
        ]
        if overdue:
            raise HaltError(dict.fromkeys(overdue, _HANGS))

    def forget(self, shards_gone: frozenset[int]) -> None:
        """These are no longer assigned: whoever has them next judges them anew."""
        self.halted = {s: why for s, why in self.halted.items() if s not in shards_gone}
        self._waits = {s: wait for s, wait in self._waits.items() if s not in shards_gone}
        self._reminder.keep(self.halted.items())

    def _tell_waiting(self, now_s: float) -> None:
        self._reminder.keep(self.halted.items() | {(s, x) for s in self._waits for x in (0, 1)})
        for shard, wait in self._waits.items():
            lasts_s = round(now_s - wait.since_s, 1)
            if lasts_s < _TELL_AFTER_S:
                continue  # as after any worker that died
            long = lasts_s >= HANGING_BOUND_S
            if not self._reminder.is_due((shard, int(long))):
                continue
            said = {"shard": shard, "why": wait.waiting.why, "lasts_s": lasts_s}
            if long:
                _log.error("shard waits", **said)
            else:
                _log.warning("shard waits", **said)


def _longer(before: _Wait | None, now: Waiting, now_s: float) -> _Wait:
    if before is None:
        return _Wait(now, now_s, now_s)
    same = now.open_at is not None and now.open_at == before.waiting.open_at
    return _Wait(now, before.since_s, before.open_since_s if same else now_s)
