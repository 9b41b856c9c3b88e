"""The loop of both consumers: read a batch, decode it, store it, answer it.

Invariant: a batch is stored before it is answered, and seen once more right before; its offsets go
with the answers, one batch is answered before the next one is stored, and after any failure the
loop goes back to what is committed.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from saec.clock import Clock
from saec.errors import ConfigurationError, StoreUnavailableError
from saec.ingest.ahead import Ahead
from saec.ingest.positions import StoredPositions
from saec.kafka.intake import Batch, Intake
from saec.kafka.records import Incoming, Outgoing
from saec.outage import Outage
from saec.settings import Settings
from saec.store.engine import Engine

_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
# For how long nothing may have failed until it counts as over: after a batch, and without one.
_QUIET_S = 2.0
_IDLE_QUIET_S = 5.0

_log = structlog.get_logger("saec.ingest")


class Taker(Protocol):
    """What stores a batch: see `saec.ingest.requests` and `saec.ingest.customers`."""

    def decode(self, batch: Sequence[Incoming]) -> Any:
        """What `store` takes. Pure: it runs in a thread, and nobody may ask for what came out."""
        ...

    def store(self, decoded: Any, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """Store a batch and the offsets behind it; returns the answers."""
        ...

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        """See that what was stored up to these offsets still stands; raises if not."""
        ...


class IngestLoop:
    """Keeps one source topic flowing into a taker. `run` loops, `run_once` takes one batch."""

    def __init__(
        self, open_intake: Callable[[], Intake], taker: Taker, clock: Clock, role: str
    ) -> None:
        self._open_intake = open_intake
        self._taker = taker
        self._clock = clock
        self._role = role
        self._stop = threading.Event()
        self._intake: Intake | None = None
        self._ahead: Ahead | None = None
        self._failures = self.turns = 0
        self._behind = False
        self._outage = Outage(_log, clock, "batch abandoned")

    @property
    def waits(self) -> str | None:
        """The part that is away, for a health check; None when none is. From any thread."""
        return self._outage.waits

    @property
    def trouble(self) -> str | None:
        """Why this loop is not at work, for a health check; None when it is. From any thread."""
        stuck = self._outage.trouble
        return None if stuck is None else f"the same batch fails, {stuck}"

    def run(self) -> None:
        """Batch after batch, until `stop`.

        Raises:
            ConfigurationError: the topic cannot be read on; trying again would not help.
        """
        while not self._stop.is_set():
            self.turns += 1
            try:
                taken = self.run_once()
                self._failures = 0 if taken else self._failures
                self._outage.over(_QUIET_S if taken else _IDLE_QUIET_S)
            except ConfigurationError:
                raise
            except Exception as error:
                self._go_back(error)

    def run_once(self) -> int:
        """Take one batch; returns how many records it had, 0 if it is to be read again.

        In a backlog the next batch is read and begins to be decoded before this one is stored.

        Raises:
            SaecError: the batch may or may not have been stored or answered; it will come again.
        """
        intake = self._at_its_place()
        current = self._ahead or self._decoding(intake.read())
        self._ahead = None
        if current is None:
            return 0
        batch, decoded = current.batch, current.take()
        if batch.full:
            self._ahead = self._decoding(intake.read(ahead=True))
            if not intake.holds(batch):
                return 0
        answers = self._taker.store(decoded, batch.next_offsets)
        intake.answer(batch, answers, partial(self._taker.confirm, batch.next_offsets))
        _log.debug("batch taken", records=len(batch.records), answers=len(answers))
        return len(batch.records)

    def _at_its_place(self) -> Intake:
        """The intake, after a failure back where it has to go on; kept while the store is away."""
        if self._intake is None:
            self._intake = self._open_intake()
        elif self._behind:
            try:
                self._intake.rewind()
            except StoreUnavailableError:
                raise
            except Exception:
                self.close()
                raise
        self._behind = False
        return self._intake

    def _decoding(self, batch: Batch) -> Ahead | None:
        return Ahead(batch, self._taker.decode) if batch.records else None

    def stop(self) -> None:
        """Make `run` return after the batch it is in; from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Leave the group."""
        self._ahead = None
        if self._intake is not None:
            self._intake.close()
            self._intake = None

    def _go_back(self, error: Exception) -> None:
        pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        self._ahead = None  # it comes again, behind the one that failed
        self._outage.failed(error)
        self._behind = True
        self._clock.wait(self._stop, pause_s)


def opener(
    settings: Settings,
    engine: Engine,
    role: str,
    topic: str,
    positions: StoredPositions | None = None,
) -> Callable[[], Intake]:
    """What opens the intake of a topic, from where the store knows it.

    The taker of a process has the same `positions`.
    """
    known = positions or StoredPositions(engine, topic)
    return lambda: Intake(settings, role, topic, known)
