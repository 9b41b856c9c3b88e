"""What a recovery did, or would do: counts, and nothing of what is in a record."""

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
