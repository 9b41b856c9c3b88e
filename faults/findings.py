"""What a run found: how many of each kind, and the first ones in words.

Invariant: a run is good only if every count is 0.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "missing",
    "duplicate",
    "early",
    "stopped but sent",
    "too late but not sent",
    "sent after expiry",
    "wrong address",
    "wrongly skipped",
    "altered",
    "unexpected",
    "answers lost",
    "answers doubled",
    "answers contradictory",
    "readers disagree",
    "audit disagrees",
    "shards halted",
    "processes ended",
    "errors not expected",
    "restores not noticed",
    "recoveries failed",
    "steps not hit",
)
_SHOWN = 30


@dataclass
class Findings:
    """The findings of a run, by kind."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, kind: str, what: object, count: int = 1) -> None:
        """Count a finding of one of `KINDS`, and keep the first ones to show."""
        if kind not in KINDS:
            raise ValueError(kind)
        if count <= 0:
            return
        self.counts[kind] += count
        if len(self.first) < _SHOWN:
            self.first.append(f"{kind}: {what}")

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.counts

    def as_json(self) -> dict[str, Any]:
        """Every kind with its count, also those with 0."""
        return {kind: self.counts[kind] for kind in KINDS}
