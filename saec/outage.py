"""A trouble that lasts, and how it is told: when it begins, now and then, and when it is over.

Invariant: however often a loop fails, its log has one line at once, at most one more every
`SAY_AGAIN_S`, and one at the end; what stands still is told at first sight and every
`TELL_AGAIN_S` until it is over.
"""

import re
import traceback
from collections.abc import Collection, Hashable
from typing import Any

from saec.clock import Clock
from saec.errors import SaecError

SAY_AGAIN_S = 30.0
TELL_AGAIN_S = 600.0
# As often the same failure in a row, and it will not pass by itself: about a minute and a half.
STUCK_FAILURES = 20

_NUMBERS = re.compile(r"\d+")


class Reminder:
    """Which of the things that stand still are to be told now; used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_s: dict[Hashable, float] = {}

    def is_due(self, what: Hashable) -> bool:
        """Whether to tell it: at first sight, and every `TELL_AGAIN_S`. Who asks, tells."""
        now_s = self._clock.monotonic_s()
        due = now_s - self._told_s.get(what, -TELL_AGAIN_S) >= TELL_AGAIN_S
        if due:
            self._told_s[what] = now_s
        return due

    def keep(self, those: Collection[Hashable]) -> None:
        """Everything else is over: should it come again, that is its first sight."""
        self._told_s = {what: at_s for what, at_s in self._told_s.items() if what in those}


class Outage:
    """Tells of repeated failures under the name `event`; used by one thread."""

    def __init__(self, log: Any, clock: Clock, event: str) -> None:
        self._log = log
        self._clock = clock
        self._event = event
        self._since_s: float | None = None
        self._last_s = self._said_s = 0.0
        self._failures = self._same = 0
        self._error = ""
        self._away: str | None = None

    @property
    def waits(self) -> str | None:
        """The part that did not do what was asked, when it failed last and is not over; or None."""
        away = self._away
        return None if away is None else f"waits for {away}: {self._error}"

    @property
    def trouble(self) -> str | None:
        """`stuck`, unless it waits for a part that is away."""
        return None if self._away is not None else self.stuck

    @property
    def stuck(self) -> str | None:
        """The failure that came `STUCK_FAILURES` times in a row or more, in words; else None."""
        if self._same < STUCK_FAILURES:
            return None
        return f"{self._same} times in a row: {self._error}"

    def failed(self, error: BaseException) -> None:
        """It failed, for the first time or again."""
        now_s = self._last_s = self._clock.monotonic_s()
        self._failures += 1
        words = described(error)
        alike = _NUMBERS.sub("", words["error"]) == _NUMBERS.sub("", self._error)
        self._same = self._same + 1 if alike else 1
        self._error, self._away = words["error"], getattr(error, "away", None)
        if self._since_s is None:
            self._since_s = now_s
        elif now_s - self._said_s < SAY_AGAIN_S:
            return
        self._said_s = now_s
        lasts_s = round(now_s - self._since_s, 1)
        tell = self._log.warning if self.stuck is None else self._log.error
        tell(self._event, **words, failures=self._failures, lasts_s=lasts_s)

    def over(self, quiet_s: float = 0.0) -> None:
        """It works, and has not failed for `quiet_s` seconds."""
        now_s = self._clock.monotonic_s()
        if self._since_s is None or now_s - self._last_s < quiet_s:
            return
        lasted_s = round(self._last_s - self._since_s, 1)
        self._log.info(
            "working again", after=self._event, failures=self._failures, lasted_s=lasted_s
        )
        self._since_s, self._failures, self._same, self._away = None, 0, 0, None


def described(error: BaseException) -> dict[str, str]:
    """What a log may say of an error.

    SAEC's own errors quote nothing that a stranger wrote. Of any other the text may be anything,
    so the line has its kind, and where in the code it came up.
    """
    kind = type(error).__name__
    if isinstance(error, SaecError):
        return {"error": str(error), "kind": kind}
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": "an error that SAEC did not expect", "kind": kind, "at": at}
