"""What can happen to a request: the events of its story.

Invariant: plain values. A customer's id may stand in one, an address or a message never does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

from saec.contracts.events import Channel
from saec.contracts.ledger import SliceDispatched
from saec.contracts.status import Status


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """`saec.ledger/3/1042`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Asked:
    """The request was published, at its append time. What could not be read of it is None."""

    name: ClassVar = "asked"
    at_ms: int
    place: Place
    requester: str | None = None
    campaign_id: str | None = None
    channels: tuple[Channel, ...] | None = None
    recipients: int | None = None
    due_at_ms: int | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A cancel was published, at its append time; None of a record that is no longer kept."""

    name: ClassVar = "cancel_asked"
    at_ms: int | None
    place: Place
    requester: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A status was given. `about` is the record that it answers; None: a slice.

    `place` is where it stands in saec.status; None where only PostgreSQL still tells it, and then
    `at_ms` is when the record came that it answers.
    """

    name: ClassVar = "answered"
    at_ms: int | None
    place: Place | None
    status: Status
    about: Place | None = None
    reason: str | None = None
    detail: str | None = None
    counts: Mapping[str, int] | None = None


class Sent(NamedTuple):
    """A message in its channel's topic. PUSH has no customer."""

    channel: Channel
    customer_id: str | None
    message_id: str
    place: Place


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A batch took slices of the request; `place` is its record in the ledger.

    `at_ms` is PostgreSQL's clock. `messages` are those that were found in the channel topics.
    """

    name: ClassVar = "dispatched"
    at_ms: int
    place: Place
    shard: int
    batch_no: int
    slices: tuple[SliceDispatched, ...]
    messages: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages of a slice that could not go out. Without instant: the ledger no longer tells."""

    name: ClassVar = "skipped"
    at_ms: int | None
    place: Place | None
    slice_no: int
    channel: Channel
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A slice that is still to be dispatched; `claimed`: a batch that is on its way has it."""

    name: ClassVar = "pending"
    at_ms: int
    slice_no: int
    channels: tuple[Channel, ...]
    recipients: int
    messages: int
    claimed: bool
    place: Place | None = None


class Why(StrEnum):
    """Why something that should be there is not shown."""

    NO_LONGER_KEPT = "no_longer_kept"
    NOT_READ_FURTHER = "not_read_further"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Remark:
    """What was not found, or what cannot both be true."""

    at_ms: int | None
    why: Why
    what: str
    place: Place | None = None

    @property
    def name(self) -> str:
        """The kind of remark."""
        return self.why.value


Event = Asked | CancelAsked | Answered | Dispatched | Skipped | Pending | Remark


def many(messages: int) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{messages:,} message{'' if messages == 1 else 's'}"


_ORDER = (Asked, CancelAsked, Answered, Dispatched, Skipped, Pending, Remark)


def in_order(events: list[Event]) -> tuple[Event, ...]:
    """By instant; what has none comes last."""
    return tuple(
        sorted(events, key=lambda e: (e.at_ms is None, e.at_ms or 0, _ORDER.index(type(e))))
    )
