"""Time comes in through here, so that a test can move it.

Invariant: only deadlines and pauses use this clock. What is due is decided by PostgreSQL's clock,
and what a request may ask for by the append time of its record. The time of day is read only to
notice that PostgreSQL's is ahead of it.
"""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the loops need of time."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall_ms(self) -> int:
        """The time of day, in epoch milliseconds; it may jump."""
        ...

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Wait until `stop` is set or `timeout_s` seconds passed. True when stopped."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """The machine's time of day."""
        return time.time_ns() // 1_000_000

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Wait on the event itself, so that stopping ends the wait at once."""
        return stop.wait(timeout_s)
