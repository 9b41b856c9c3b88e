"""What Kafka refuses for good: which slices that are, and that nothing else waits for them.

A transaction that carries such a record fails whole. So the next ones carry half as many slices,
down to one; what is refused on its own is set apart. Invariant: a slice is set apart only when
Kafka refused it alone and twice, or a channel that this worker may not write to; it is told, it
stays in `pending`, and it is tried again, alone, for ever.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from saec.clock import Clock
from saec.contracts.events import Channel
from saec.errors import BrokerUnavailableError
from saec.kafka import limits
from saec.kafka.transaction import InDoubtError
from saec.outage import Reminder
from saec.settings import Settings
from saec.store.pending import EVERYTHING, Apart, Choice, PendingSlice

_SURE = 2  # as often is a slice refused alone before it is set apart
_TRY_AGAIN_S = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
_LEARN_EVERY_S = 10.0
_FIRST_BATCH_BYTES = 1_000_000
_LEAST_BATCH_BYTES = 16_000
_BATCH_OVERHEAD_BYTES = 1_000
_NEXT = "docs/operations.md, What Kafka refuses"

_log = structlog.get_logger("saec.dispatch")


@dataclass(slots=True)
class _SetApart:
    """Slices that are set apart: those of a kind, (channels, bytes), or of a request."""

    said: dict[str, object]
    kind: tuple[int, int] | None
    request: UUID | None
    again_s: float
    tries: int = 0

    @property
    def alone(self) -> Apart:
        """It, and nothing else."""
        return _apart([self])


def _apart(those: Sequence[_SetApart]) -> Apart:
    return Apart(
        tuple(one.kind for one in those if one.kind is not None),
        tuple(one.request for one in those if one.request is not None),
    )


@dataclass(slots=True)
class _Search:
    """A search for what was refused: how many slices a claim may have, how many are in doubt."""

    slices: int
    left: int
    alone: int = 0


@dataclass
class Refusals:
    """What one worker knows of what Kafka refuses it."""

    settings: Settings
    clock: Clock
    denied: Callable[[Settings], Sequence[Channel]] = limits.denied_channels
    batch_bytes: int | None = None
    """No batch of a producer made from now on is larger; None is the client's own default."""
    _apart: list[_SetApart] = field(default_factory=list)
    _search: _Search | None = None
    _learned_s: float = float("-inf")

    def __post_init__(self) -> None:
        self._reminder = Reminder(self.clock)

    @property
    def apart(self) -> Apart | None:
        """What is set apart now; None is nothing."""
        return _apart(self._apart) if self._apart else None

    @property
    def searching(self) -> bool:
        """Whether rounds are small, to find out what was refused."""
        return self._search is not None

    def choice(self) -> Choice:
        """What the next claim may choose."""
        due = self._due()
        if due is not None and self._search is None:
            return Choice(slices=1, only=due.alone)
        if self._search is None and not self._apart:
            return EVERYTHING
        return Choice(self._search.slices if self._search else None, self.apart)

    def took(self, choice: Choice, slices: int) -> None:
        """So many slices that were chosen so went out; 0: there were none."""
        if choice.only is not None:
            for one in [one for one in self._apart if one.alone == choice.only]:
                self._apart.remove(one)
                self.batch_bytes = None
                _log.info("Kafka takes it again", **one.said)
        elif self._search is not None:
            self._search.left -= slices
            if self._search.left <= 0 or slices == 0:
                self._search = None

    def refused(self, choice: Choice, slices: Sequence[PendingSlice], error: InDoubtError) -> None:
        """Kafka refused a record of these slices."""
        if error.too_large:
            self._learn_sizes()
        if choice.only is not None:
            self._still(choice.only)
        elif not (error.denied and self._set_channels_apart(error)):
            self._narrow(slices, error)

    def tell(self) -> None:
        """Say what is set apart: at first sight, and every ten minutes."""
        self._reminder.keep([id(one) for one in self._apart])
        for one in self._apart:
            if self._reminder.is_due(id(one)):
                _log.error("Kafka refuses what is due", **one.said, next=_NEXT)

    def _due(self) -> _SetApart | None:
        now_s = self.clock.monotonic_s()
        return next((one for one in self._apart if one.again_s <= now_s), None)

    def _still(self, only: Apart) -> None:
        for one in self._apart:
            if one.alone == only:
                one.tries += 1
                one.again_s = self._again_s(one.tries)

    def _narrow(self, slices: Sequence[PendingSlice], error: InDoubtError) -> None:
        """Half as many slices next time; one that was refused alone is set apart."""
        search = self._search or _Search(len(slices), len(slices))
        self._search = search
        if len(slices) > 1:
            search.slices, search.alone = len(slices) // 2, 0
            return
        search.slices, search.alone = 1, search.alone + 1
        if search.alone >= _SURE:
            self._set_apart(slices[0], error)
            self._search = None

    def _set_apart(self, one: PendingSlice, error: InDoubtError) -> None:
        """By its size where that is what is refused: so are all of its kind, unseen."""
        kind = (one.channels, len(one.message)) if error.too_large else None
        request = None if error.too_large else one.request_id
        said = {"request_id": str(one.request_id), "slice_no": one.slice_no, "why": error.name}
        self._add(said, kind, request)

    def _set_channels_apart(self, error: InDoubtError) -> bool:
        try:
            denied = self.denied(self.settings)
        except BrokerUnavailableError:
            return False
        known = {one.kind for one in self._apart}
        new = [channel for channel in denied if (channel.bit, 0) not in known]
        for channel in new:
            self._add({"channel": channel.value, "why": error.name}, (channel.bit, 0), None)
        if new:
            self._search = None
        return bool(new)

    def _add(
        self, said: dict[str, object], kind: tuple[int, int] | None, request: UUID | None
    ) -> None:
        self._apart.append(_SetApart(said, kind, request, self._again_s(0)))
        self.tell()

    def _again_s(self, tries: int) -> float:
        return self.clock.monotonic_s() + _TRY_AGAIN_S[min(tries, len(_TRY_AGAIN_S) - 1)]

    def _learn_sizes(self) -> None:
        """Make batches that every topic takes: else small records are refused for their company."""
        now_s = self.clock.monotonic_s()
        if now_s - self._learned_s < _LEARN_EVERY_S:
            return
        self._learned_s = now_s
        topics = self.settings.topics
        try:
            smallest = min(
                limits.largest_bytes(self.settings, topic)
                for topic in (*topics.dispatch.values(), topics.status, topics.ledger)
            )
            fitting = max(_BATCH_OVERHEAD_BYTES, smallest - _BATCH_OVERHEAD_BYTES)
            self.batch_bytes = min(_FIRST_BATCH_BYTES, fitting)
        except BrokerUnavailableError:  # it may not see them
            before = self.batch_bytes or _FIRST_BATCH_BYTES
            self.batch_bytes = max(_LEAST_BATCH_BYTES, before // 4)
