"""So many records a second, and no more.

Invariant: however long a batch took, the average since the start stays below the rate.
"""

import math
import threading

from saec.clock import Clock

_MOST_RECORDS = 5_000
_BATCHES_A_SECOND = 10


class Pace:
    """`rate` is in records a second; None: as fast as it goes."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._done = 0
        self._never = threading.Event()

    @property
    def most_records(self) -> int:
        """Of one transaction: with a rate it is small, so that copies come evenly."""
        if self._rate is None:
            return _MOST_RECORDS
        return max(1, min(_MOST_RECORDS, math.ceil(self._rate / _BATCHES_A_SECOND)))

    def wait(self, records: int) -> None:
        """After so many records more: until the next ones may go."""
        self._done += records
        if self._rate is None:
            return
        ahead_s = self._since_s + self._done / self._rate - self._clock.monotonic_s()
        if ahead_s > 0:
            self._clock.wait(self._never, ahead_s)
