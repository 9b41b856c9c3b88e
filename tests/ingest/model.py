"""What ingest and dispatch owe, told in a few dictionaries: a clean run, one record at a time.

It knows nothing of redelivery: a record is decided when it is first stored, and that is that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from saec.contracts.status import Status
from saec.errors import Reason

Position = tuple[int, int]
Slice = tuple[UUID, int]
Answer = tuple[Status, Reason | None, dict[str, int]]

CHANNELS = 2


@dataclass(frozen=True)
class Asked:
    """A request of the topic; each customer is a slice."""

    at: Position
    id: UUID
    customers: tuple[str, ...]
    past: bool = False
    appended_at_ms: int = 0


@dataclass(frozen=True)
class Stop:
    """A cancel of the topic."""

    at: Position
    id: UUID
    requester: str
    appended_at_ms: int = 0

    @property
    def age(self) -> tuple[int, Position]:
        """The greater, the newer."""
        return self.appended_at_ms, self.at


@dataclass(frozen=True)
class Known:
    """A record of the registry; `email` None and `erased` where the customer was erased."""

    at: Position
    appended_at_ms: int
    id: str
    email: str | None
    erased: bool

    def is_newer(self, than: "Known") -> bool:
        """Of one partition the offsets decide."""
        if self.at[0] == than.at[0]:
            return self.at > than.at
        return (self.appended_at_ms, self.at) > (than.appended_at_ms, than.at)

    def over(self, before: "Known | None") -> "Known":
        """What is known after this record: an address that it does not mention stays."""
        if before is None:
            return self
        email = before.email if self.email is None and not self.erased else self.email
        same = self.at[0] == before.at[0]
        newest_ms = max(self.appended_at_ms, before.appended_at_ms if same else 0)
        return replace(self, email=email, appended_at_ms=newest_ms)


@dataclass
class Model:
    """What is stored, and what was decided."""

    requests: dict[UUID, Asked] = field(default_factory=dict)
    free: set[Slice] = field(default_factory=set)
    claimed: set[Slice] = field(default_factory=set)
    decisions: dict[UUID, tuple[Status, int]] = field(default_factory=dict)
    answers: dict[Position, Answer] = field(default_factory=dict)
    unknown: list[Stop] = field(default_factory=list)
    late: dict[Position, Position] = field(default_factory=dict)  # request -> its cancel
    customers: dict[str, Known] = field(default_factory=dict)

    def take(self, batch: Iterable[Asked | Stop], *, cancels: bool = True) -> None:
        """Decide what was not decided before: the requests of a batch, then its cancels."""
        new = [record for record in batch if record.at not in self.answers]
        for record in new:
            if isinstance(record, Asked):
                self.answers[record.at] = self._ask(record)
        for record in new:
            if isinstance(record, Stop) and cancels:
                self.answers[record.at] = self._stop(record)

    def register(self, batch: Sequence[Known]) -> None:
        """A newer record about a customer changes what it mentions."""
        for record in batch:
            known = self.customers.get(record.id)
            if known is None or record.is_newer(known):
                self.customers[record.id] = record.over(known)

    def _ask(self, record: Asked) -> Answer:
        stored = self.requests.get(record.id)
        if stored is None and record.past:
            return Status.REJECTED, Reason.DUE_IN_THE_PAST, {}
        count = len(record.customers)
        counts = {"recipients": count, "messages": count * CHANNELS}
        if stored is None:
            self.requests[record.id] = record
            if (held := self._held_against(record)) is None:
                self.free |= {(record.id, number) for number in range(count)}
            else:
                self.decisions[record.id] = Status.CANCELLED, count
                self.answers[held.at] = Status.CANCELLED, None, self._counts(record, count)
                self.late[record.at] = held.at
            return Status.ACCEPTED, None, counts
        if (stored.customers, stored.past) == (record.customers, record.past):
            return Status.DUPLICATE, None, counts
        return Status.REJECTED, Reason.ID_TAKEN, {}

    def _held_against(self, record: Asked) -> Stop | None:
        """The oldest cancel that was unknown, and was appended in another partition after it."""
        return min(
            (
                stop
                for stop in self.unknown
                if (stop.id, stop.requester) == (record.id, "billing")
                and stop.at[0] != record.at[0]
                and stop.appended_at_ms >= record.appended_at_ms
            ),
            key=lambda stop: stop.age,
            default=None,
        )

    def _stop(self, record: Stop) -> Answer:
        stored = self.requests.get(record.id)
        # A batch stores its requests first; one behind the cancel in its partition came later.
        if stored is None or (stored.at[0] == record.at[0] and stored.at > record.at):
            self.unknown.append(record)
            return Status.UNKNOWN_REQUEST, None, {}
        if record.requester != "billing":
            return Status.REJECTED, Reason.OTHER_REQUESTER, {}
        if record.id in self.decisions:
            status, stopped = self.decisions[record.id]
            again = Status.ALREADY_CANCELLED if status is Status.CANCELLED else status
            return again, None, self._counts(stored, stopped)
        gone = {one for one in self.free if one[0] == record.id}
        self.free -= gone
        status = Status.CANCELLED if gone else Status.TOO_LATE
        self.decisions[record.id] = status, len(gone)
        return status, None, self._counts(stored, len(gone))

    def _counts(self, stored: Asked, stopped: int) -> dict[str, int]:
        left = len(stored.customers) - stopped
        return {
            "recipients_stopped": stopped,
            "recipients_left": left,
            "messages_stopped": stopped * CHANNELS,
            "messages_left": left * CHANNELS,
        }
