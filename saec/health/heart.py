"""Says every second how this process is, as long as its loop runs.

Invariant: a thread says it, but what it says of the loop is the loop's own: when the loop turned
last, what it waits for, why it is not at work. A loop that stands is not made to look alive.
"""

import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import structlog

from saec.clock import Clock
from saec.health import beat
from saec.health.beat import Beat, BeatError
from saec.outage import Outage
from saec.settings import Settings

_EVERY_S = 1.0
_END_S = 1.0

_log = structlog.get_logger("saec.health")


@runtime_checkable
class Watched(Protocol):
    """A loop that says how it is; all of it may be asked from any thread."""

    @property
    def turns(self) -> int:
        """How often it has turned; one that stands does not count on."""
        ...

    @property
    def waits(self) -> str | None:
        """The part that is away, in words; None when none is."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it is not at work; None when it is, or waits for a part."""
        ...


class Heart:
    """What says how the process is. As a context it says so until its end."""

    def __init__(self, settings: Settings, role: str, clock: Clock) -> None:
        self._settings = settings
        self._role = role
        self._clock = clock
        self._outage = Outage(_log, clock, "health not told")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heart")
        self._pid = os.getpid()
        self._started = beat.started(self._pid)
        self._loop: Watched | None = None
        self._turns = 0
        self._turned_s = clock.monotonic_s()
        self._starting: str | None = "starts"

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(_END_S)
        with suppress(BeatError):  # told while it ran; of an ended process the file says nothing
            beat.forget(self._settings, self._role, self._pid)

    def starting(self, why: str) -> None:
        """The process is on its way to its loop, and this is what it waits for."""
        self._starting, self._turned_s = why, self._clock.monotonic_s()

    def watch(self, loop: object) -> None:
        """From now on the loop says how it is."""
        if isinstance(loop, Watched):
            self._turned_s, self._turns = self._clock.monotonic_s(), loop.turns
            self._loop = loop

    def now(self) -> Beat:
        """How it is."""
        loop = self._loop
        if loop is None:
            return Beat(self._pid, self._started, self._turned_s, self._starting)
        if (turns := loop.turns) != self._turns:
            self._turns, self._turned_s = turns, self._clock.monotonic_s()
        return Beat(self._pid, self._started, self._turned_s, loop.waits, loop.trouble)

    def beat(self) -> None:
        """Say it once. Where that cannot be said the process works on, and its log tells."""
        try:
            beat.write(self._settings, self._role, self.now())
        except BeatError as error:
            self._outage.failed(error)
        else:
            self._outage.over()

    def _run(self) -> None:
        try:
            beat.sweep(self._settings)
        except (BeatError, OSError) as error:
            _log.debug("not swept", error=type(error).__name__)
        while not self._ended.wait(_EVERY_S):
            self.beat()
