"""What has arrived so far: counts and lateness by channel, and whether all of it is there.

Lateness is when a read_committed reader had a message, less when it was due, in milliseconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from saec.contracts.events import Channel
from saec.demo.expected import Expected, MessageKey
from saec.demo.topics import Reading
from saec.demo.verdict import answers_of, key_of, skips_of


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of the messages of one channel, in milliseconds."""

    p50_ms: int
    p99_ms: int
    max_ms: int


@dataclass(slots=True)
class Tally:
    """Counts arrivals against what is expected."""

    expected: Expected
    _late_ms: dict[Channel, list[int]] = field(default_factory=lambda: {c: [] for c in Channel})
    _open: set[MessageKey] = field(default_factory=set)
    _told: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Nothing has arrived yet."""
        self._open = set(self.expected.messages)

    def add(self, reading: Reading, now_ms: int) -> None:
        """Count what arrived until `now_ms` (epoch)."""
        for one in reading.messages:
            self._late_ms[one.channel].append(now_ms - one.message.due_at_ms)
            self._open.discard(key_of(one.message))
        for key, count in answers_of(reading.statuses).items():
            self._told[key] += count
        for skip, count in skips_of(reading.statuses).items():
            self._told[skip] += count

    @property
    def complete(self) -> bool:
        """True when every message and every answer that is expected has arrived."""
        answered = all(self._told[key] >= n for key, n in self.expected.answers.items())
        skipped = all(self._told[key] >= n for key, n in self.expected.skips.items())
        return not self._open and answered and skipped

    def arrived(self, channel: Channel) -> int:
        """How many messages a channel got."""
        return len(self._late_ms[channel])

    def lateness(self, channel: Channel) -> Lateness | None:
        """Of what has arrived; None when nothing has."""
        late_ms = sorted(self._late_ms[channel])
        if not late_ms:
            return None
        return Lateness(_quantile(late_ms, 0.5), _quantile(late_ms, 0.99), late_ms[-1])


def _quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed."""
    place = -(-len(ordered) * round(share * 100) // 100) - 1
    return ordered[max(place, 0)]
