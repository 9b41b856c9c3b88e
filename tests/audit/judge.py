"""An audit as tests look at it: its report, and its findings as they were expected."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from saec.audit import Finding, Kind, Report, Scope, audit, run
from saec.contracts.events import Channel
from saec.settings import Settings
from tests.audit.history import History, Record

LATE_MS = 120_000
LATER_MS = 600_000


@dataclass(frozen=True)
class Judged:
    """A report and all findings."""

    report: Report
    findings: tuple[Finding, ...]

    def total(self) -> dict[str, int]:
        """What is not 0 of the total."""
        return {
            name: count
            for name in vars_of(self.report.total)
            if name != "found" and (count := getattr(self.report.total, name))
        }


def vars_of(value: Any) -> list[str]:
    """The names of its fields."""
    return list(value.__slots__)


class Judge:
    """Audits, `LATER_MS` after what happened: what did not come by then is missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self,
        settings: Settings,
        scope: Scope | None = None,
        later_ms: int = LATER_MS,
        late_ms: int = LATE_MS,
    ) -> Judged:
        clock = run.time.time_ns
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(run.time, "time_ns", lambda: clock() + later_ms * 1_000_000)
            with audit(settings, scope, late_ms=late_ms, directory=self.directory) as done:
                judged = Judged(done.report, tuple(done.findings()))
        assert list(self.directory.glob("*.duckdb")) == []
        counts = Counter(one.kind for one in judged.findings)
        assert judged.report.findings == counts
        assert list(judged.report.findings) == sorted(counts, key=list(Kind).index)
        total = judged.report.total
        assert total.asked == (
            total.expected + total.skipped + total.stopped + total.awaited + total.unjudged
        )
        assert judged.report.reconciles == (
            not judged.findings and total.expected == total.dispatched
        )
        return judged


@dataclass(frozen=True)
class Expected:
    """A finding that a test planted; `records` show it, in this order."""

    kind: Kind
    messages: int
    records: tuple[Record, ...]
    request_id: UUID | None = None
    channel: Channel | None = None
    customer: str | None = None

    def row(self) -> tuple[Any, ...]:
        """To be compared."""
        places = tuple(str(one.place) for one in self.records)
        return (
            self.kind.value,
            self.messages,
            str(self.request_id),
            str(self.channel),
            str(self.customer),
            places,
        )


def row(found: Finding) -> tuple[Any, ...]:
    """To be compared."""
    return (
        found.kind.value,
        found.messages,
        str(found.request_id),
        str(found.channel),
        str(found.customer_id),
        tuple(map(str, found.places)),
    )


def agrees(judged: Judged, expected: list[Expected]) -> None:
    """Exactly these findings, and nothing else."""
    found = Counter(map(row, judged.findings))
    wanted = Counter(one.row() for one in expected)
    assert (list(found - wanted), list(wanted - found)) == ([], [])
    assert judged.report.reconciles == (not expected)


__all__ = ["Expected", "History", "Judge", "Judged", "agrees"]
