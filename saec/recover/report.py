"""What a recovery or a rebuild did, or would do: counts, and nothing of what is in a record."""

from collections.abc import Callable
from dataclasses import dataclass, field

Say = Callable[[str], None]
"""Tells a person how far it got."""


@dataclass
class Report:
    """`halted` are the shards that are left alone, and why; `cleared` those that are not any more.

    `requests` were stored again. `cancels` got the effect that their answer says, `undecided` ones
    were decided anew, because their answer is not kept any more. `ahead` requests were dispatched
    before they were answered.
    """

    requests_read: int = 0
    requests: int = 0
    cancels: int = 0
    undecided: int = 0
    ahead: int = 0
    customers_read: int = 0
    batches: int = 0
    slices: int = 0
    cleared: list[int] = field(default_factory=list)
    halted: dict[int, str] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """The database knew all of it already."""
        counts = (self.requests_read, self.customers_read, self.batches, len(self.cleared))
        return not any(counts) and not self.halted


@dataclass
class Rebuilt(Report):
    """What a rebuild did, or would do.

    `requests_anew` were decided anew: their answers are not kept. `forgotten` requests were
    dispatched, and are not kept. `doubtful` may have been dispatched, due from `doubtful_from_ms`
    to `doubtful_to_ms`; `presumed_sent` of them count as sent. `requests_since_ms` and
    `ledger_since_ms` are where these topics begin, None when they are kept from their beginning.
    """

    shards: int = 0
    requests_anew: int = 0
    forgotten: int = 0
    doubtful: int = 0
    doubtful_from_ms: int | None = None
    doubtful_to_ms: int | None = None
    presumed_sent: int = 0
    requests_since_ms: int | None = None
    ledger_since_ms: int | None = None

    def doubt(self, due_at_ms: int) -> None:
        """Count a request that may have been dispatched."""
        self.doubtful += 1
        first, last = self.doubtful_from_ms, self.doubtful_to_ms
        self.doubtful_from_ms = due_at_ms if first is None else min(first, due_at_ms)
        self.doubtful_to_ms = due_at_ms if last is None else max(last, due_at_ms)
