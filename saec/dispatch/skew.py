"""PostgreSQL's clock held against this machine's, wherever a round asks PostgreSQL for the time.

A clock that jumps ahead makes due what is not, and nobody takes it back: neither messages that went
out early nor those that counted as expired. Which of the two clocks is wrong cannot be known here.
Invariant: nothing goes out, and nothing expires, at an instant of PostgreSQL's that is more than
the bound ahead of this machine's clock.
"""

from dataclasses import dataclass

import structlog

from saec.clock import Clock
from saec.contracts.instants import iso
from saec.errors import SaecError
from saec.outage import Reminder

_LOOK_AGAIN_S = 1.0
_NEXT = "docs/operations.md, Clocks that disagree"

_log = structlog.get_logger("saec.dispatch")


class ClockAheadError(SaecError):
    """PostgreSQL's clock jumped while a batch was prepared."""

    away = "the clocks to agree"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What both clocks said at one moment."""

    stored_ms: int
    here_ms: int

    @property
    def ahead_s(self) -> float:
        return (self.stored_ms - self.here_ms) / 1000

    def __str__(self) -> str:
        return f"PostgreSQL's clock is {self.ahead_s:,.0f} s ahead of this machine's"


class Skew:
    """What one worker knows of it. Anyone may ask; only the worker's own thread tells."""

    def __init__(self, clock: Clock, bound_s: int) -> None:
        self._clock = clock
        self._bound_s = bound_s
        self._ahead: _Seen | None = None
        self._told = False
        self._reminder = Reminder(clock)

    @property
    def waits(self) -> str | None:
        """That the clocks have to agree, in words, when they did not at the last look; or None."""
        ahead = self._ahead
        return None if ahead is None else f"waits for {ClockAheadError.away}: {ahead}"

    @property
    def pause_s(self) -> float:
        """For how long there is nothing to do for that reason."""
        return 0.0 if self._ahead is None else _LOOK_AGAIN_S

    def tolerates(self, stored_ms: int) -> bool:
        """Whether to act upon what PostgreSQL's clock said just now.

        This machine's is read after it, so a process that stood still in between is no jump.
        """
        seen = _Seen(stored_ms, self._clock.wall_ms())
        self._ahead = seen if seen.ahead_s > self._bound_s else None
        return self._ahead is None

    def check(self, stored_ms: int) -> None:
        """The same, for whoever cannot go on.

        Raises:
            ClockAheadError: it is too far ahead.
        """
        if not self.tolerates(stored_ms):
            raise ClockAheadError(str(self._ahead))

    def tell(self) -> None:
        """Say it at first sight and every ten minutes, and say once that it is over."""
        ahead = self._ahead
        if ahead is None:
            self._reminder.keep(())
            if self._told:
                _log.info("clocks agree again")
        elif self._reminder.is_due("ahead"):
            _log.error(
                "clocks disagree",
                ahead_s=round(ahead.ahead_s, 1),
                bound_s=self._bound_s,
                postgresql=iso(ahead.stored_ms),
                here=iso(ahead.here_ms),
                next=_NEXT,
            )
        self._told = ahead is not None

    def forget(self) -> None:
        """Who has nothing to dispatch does not look, and so does not know."""
        self._ahead, self._told = None, False
