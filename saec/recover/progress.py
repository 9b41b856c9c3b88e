"""How far a step got, told now and then.

Invariant: a step that takes long says so every `_SAY_EVERY_S` seconds, and a short one nothing.
"""

from types import TracebackType
from typing import Self

from saec.clock import Clock
from saec.recover.report import Say

_SAY_EVERY_S = 2.0


class Progress:
    """One step of so many records. Use it as a context manager; call it with what was done."""

    def __init__(self, clock: Clock, say: Say, step: str, total: int) -> None:
        self._clock = clock
        self._say = say
        self._step = step
        self._total = total
        self._done = 0
        self._said_s = clock.monotonic_s()

    def __call__(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            self._say(f"{self._step}: {self._done:,} of {self._total:,}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        return None
