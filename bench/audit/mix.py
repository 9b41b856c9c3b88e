"""What a history is made of: kinds of requests, what becomes of them, and in which shares.

Pure. Invariant: the shares hold at every size, as far as whole requests can: what is taken next is
always what is most behind its share.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from saec.contracts.events import Channel

_One = TypeVar("_One", bound=StrEnum)


class Kind(StrEnum):
    """Who is written to."""

    CAMPAIGN = "campaign"
    SINGLE = "single"
    PUSH = "push"


class Fate(StrEnum):
    """What becomes of a request."""

    SENT = "sent"
    PENDING = "pending"  # due in the future
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # before any of it had left
    STOPPED = "stopped"  # cancelled when half of its slices had left
    TOO_LATE = "too late"  # cancelled when all of it had left
    FOREIGN = "foreign cancel"  # somebody else wants to cancel it
    REPEATED = "repeated"  # published twice
    TAKEN = "id taken"  # its id comes again, with other content
    PAST = "past"  # refused: due before the grace period
    BEYOND = "beyond"  # refused: due beyond the horizon
    SPOILED = "spoiled"  # refused: no event at all
    UNKNOWN = "unknown"  # cancelled, but never asked for


REFUSED = frozenset({Fate.PAST, Fate.BEYOND, Fate.SPOILED})

_SINGLE_FATES = {
    Fate.SENT: 0.948,
    Fate.PENDING: 0.010,
    Fate.REPEATED: 0.010,
    Fate.EXPIRED: 0.005,
    Fate.CANCELLED: 0.005,
    Fate.TOO_LATE: 0.005,
    Fate.FOREIGN: 0.002,
    Fate.TAKEN: 0.003,
    Fate.PAST: 0.005,
    Fate.BEYOND: 0.002,
    Fate.SPOILED: 0.003,
    Fate.UNKNOWN: 0.002,
}
_CAMPAIGN_FATES = {
    Fate.SENT: 0.85,
    Fate.STOPPED: 0.05,
    Fate.PENDING: 0.03,
    Fate.CANCELLED: 0.02,
    Fate.EXPIRED: 0.01,
    Fate.TOO_LATE: 0.01,
    Fate.FOREIGN: 0.01,
    Fate.REPEATED: 0.01,
    Fate.TAKEN: 0.01,
}
_PUSH_FATES = {Fate.SENT: 0.94, Fate.PENDING: 0.02, Fate.EXPIRED: 0.02, Fate.CANCELLED: 0.02}

_E, _S, _W, _P = Channel
_CAMPAIGN_CHANNELS = ((_E,), (_E, _S), (_S, _W), (_E, _S, _W), (_W,), (_E, _P))


@dataclass(frozen=True)
class Mix:
    """The shares. `kinds` are of the messages, `fates` of the requests of a kind.

    Of ten million messages 8 % as requests of one customer come to 800,000 requests: more of them
    would be nearer to a history without campaigns, and take much longer to generate.
    """

    kinds: Mapping[Kind, float] = field(
        default_factory=lambda: {Kind.CAMPAIGN: 0.9195, Kind.SINGLE: 0.08, Kind.PUSH: 0.0005}
    )
    fates: Mapping[Kind, Mapping[Fate, float]] = field(
        default_factory=lambda: {
            Kind.CAMPAIGN: _CAMPAIGN_FATES,
            Kind.SINGLE: _SINGLE_FATES,
            Kind.PUSH: _PUSH_FATES,
        }
    )
    recipients: tuple[int, int] = (1_000, 10_000)
    """Customers of a campaign, from and to."""
    channels: tuple[tuple[Channel, ...], ...] = _CAMPAIGN_CHANNELS
    """The channels of one campaign after the other."""
    body_bytes: tuple[int, int] = (150, 250)
    crash_every: int = 40
    """A worker dies in the middle of one batch of so many; 0: never."""


class Shares(Generic[_One]):
    """Takes one after the other, so that each keeps to its share."""

    def __init__(self, shares: Mapping[_One, float]) -> None:
        self._shares = shares
        self._taken = dict.fromkeys(shares, 0.0)

    def next(self) -> _One:
        """The one that is most behind its share."""
        return min(self._taken, key=self._place)

    def take(self, one: _One, weight: int = 1) -> None:
        """Count it."""
        self._taken[one] += weight

    def _place(self, one: _One) -> float:
        return (self._taken[one] + 1) / self._shares[one]
