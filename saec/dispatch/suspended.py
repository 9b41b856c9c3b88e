"""The shards assigned to a worker that it does not dispatch: halted ones and hanging ones.

Invariant: a halt stands in the database, where a person reads and clears it; what could not be
written down yet is written before anything is taken over.
"""

import structlog

from saec.clock import Clock
from saec.dispatch.errors import HaltError
from saec.store import shards
from saec.store.engine import Engine, transaction

_LOOK_AGAIN_S = 10.0
_TRY_AGAIN_S = 0.5
_HANGS = "a transaction hangs in its ledger: the broker lost its end"

_log = structlog.get_logger("saec.dispatch")


class Suspended:
    """What is suspended, and until when. A shard that hangs for `hanging_bound_s` is halted."""

    def __init__(self, engine: Engine, clock: Clock, hanging_bound_s: float) -> None:
        self.halted: dict[int, str] = {}
        self._engine = engine
        self._clock = clock
        self._hanging_bound_s = hanging_bound_s
        self._hanging_since_s: dict[int, float] = {}
        self._unwritten: dict[int, str] = {}
        self._look_again_s = self._try_again_s = 0.0

    def out(self) -> frozenset[int]:
        """The shards not to be taken over now."""
        now_s = self._clock.monotonic_s()
        halted = self.halted if now_s < self._look_again_s else {}
        hanging = self._hanging_since_s if now_s < self._try_again_s else {}
        return frozenset(halted) | frozenset(hanging) | frozenset(self._unwritten)

    def halt(self, error: HaltError) -> None:
        """Suspend shards until a person clears them."""
        for shard, why in error.reasons.items():
            _log.error(
                "shard halted", shard=shard, why=why, next="docs/operations.md, Halted shards"
            )
        self._unwritten |= error.reasons
        self.found_halted(error.reasons)

    def found_halted(self, reasons: dict[int, str]) -> None:
        """Take note of what the database says is halted; it is asked again from time to time."""
        if reasons:
            self._look_again_s = self._clock.monotonic_s() + _LOOK_AGAIN_S
            self.halted = self.halted | reasons

    def write_down(self) -> None:
        """Write the halts that are not in the database yet.

        Raises:
            StoreUnavailableError: no answer.
        """
        if self._unwritten:
            with transaction(self._engine) as connection:
                shards.mark_halted(connection, self._unwritten)
            self._unwritten = {}

    def tried(self, taken: frozenset[int], hanging: frozenset[int]) -> None:
        """Take note of a takeover: which shards it took, and which hung.

        Raises:
            HaltError: some have been held open for longer than Kafka allows.
        """
        now_s = self._clock.monotonic_s()
        self.halted = {s: why for s, why in self.halted.items() if s not in taken}
        self._hanging_since_s = {s: self._hanging_since_s.get(s, now_s) for s in hanging}
        self._try_again_s = now_s + _TRY_AGAIN_S
        bound_s = self._hanging_bound_s
        overdue = [s for s, since_s in self._hanging_since_s.items() if now_s - since_s > bound_s]
        if overdue:
            raise HaltError(dict.fromkeys(overdue, _HANGS))

    def forget(self, shards_gone: frozenset[int]) -> None:
        """These are no longer assigned: whoever has them next judges them anew."""
        self.halted = {s: why for s, why in self.halted.items() if s not in shards_gone}
        self._hanging_since_s = {
            s: since_s for s, since_s in self._hanging_since_s.items() if s not in shards_gone
        }
