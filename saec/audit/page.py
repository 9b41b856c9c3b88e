"""The page of an audit: one file that opens anywhere, offline, and prints.

Invariant: it fetches nothing and runs nothing; what a stranger wrote is text in it, without control
characters. However many findings there are, no more are held than are shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from saec.audit import plots
from saec.audit.findings import MEANING, Finding, Kind
from saec.audit.report import HOUR_MS, Report, Tally
from saec.audit.spans import spans

SHOWN = 1_000
PLACES = 5
_DISAGREEING = 200
_LARGEST = 50


@dataclass(frozen=True, slots=True)
class Campaigns:
    """The campaigns to show, those that disagree first, and how many there are.

    What was asked for without a campaign stands among them, under None.
    """

    shown: Sequence[tuple[str | None, Tally]]
    hidden: int
    count: int
    disagreeing: int


def page(report: Report, findings: Iterable[Finding]) -> str:
    """The page, as HTML. Of `findings`, sorted by kind, the first of each are shown."""
    parts = spans(report.by_hour)
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            meaning=MEANING,
            found=sum(report.findings.values()),
            shown=chosen(findings, shares(report.findings, SHOWN)),
            campaigns=campaigns(report.by_campaign),
            spans=parts,
            elsewhere=_about(report.total) - sum(_about(one.tally) for one in parts),
            hours=(parts[0].end_ms - parts[0].start_ms) // HOUR_MS if parts else 0,
            by_time=Markup(plots.by_time(parts)) if parts else None,  # noqa: S704 - drawn from numbers
            by_channel=Markup(plots.by_channel(report.by_channel)) if parts else None,  # noqa: S704
            places=PLACES,
            colours=plots.COLOURS,
        )
    )


def shares(counts: Mapping[Kind, int], most: int) -> dict[Kind, int]:
    """How many of each kind to show, so that a frequent one leaves room for a rare one."""
    found: dict[Kind, int] = {}
    left = most
    for nth, kind in enumerate(sorted(counts, key=lambda kind: counts[kind])):
        found[kind] = min(counts[kind], left // (len(counts) - nth))
        left -= found[kind]
    return {kind: found[kind] for kind in counts}


def chosen(findings: Iterable[Finding], wanted: Mapping[Kind, int]) -> dict[Kind, list[Finding]]:
    """So many findings of each kind, the first ones; no more are read than it takes."""
    found: dict[Kind, list[Finding]] = {kind: [] for kind in wanted}
    left = sum(wanted.values())
    every = iter(findings)
    while left and (one := next(every, None)):
        if len(found[one.kind]) < wanted[one.kind]:
            found[one.kind].append(one)
            left -= 1
    return found


def campaigns(tallies: Mapping[str | None, Tally]) -> Campaigns:
    """Those that disagree, and the largest of the others."""
    told = [one for one in tallies.items() if one[0] is not None or one[1].asked]
    wrong = [one for one in told if disagrees(one[1])]
    right = (one for one in told if not disagrees(one[1]))
    shown = [
        *nsmallest(_DISAGREEING, wrong, key=lambda one: (-_about(one[1]), -one[1].asked)),
        *nsmallest(_LARGEST, right, key=lambda one: -one[1].asked),
    ]
    return Campaigns(
        shown,
        hidden=len(told) - len(shown),
        count=_named(told),
        disagreeing=_named(wrong),
    )


def disagrees(tally: Tally) -> bool:
    """Whether something was found about these messages."""
    return bool(tally.found) or tally.expected != tally.dispatched


def _named(rows: Iterable[tuple[str | None, Tally]]) -> int:
    return sum(name is not None for name, _ in rows)


def _about(tally: Tally) -> int:
    return sum(tally.found.values())


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("saec.audit"),
        autoescape=True,
        finalize=_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["instant"] = _instant
    made.filters["about"] = _about
    made.tests["off"] = disagrees
    return made


def _text(value: Any) -> Any:
    """What is shown for a value: thousands apart, no control characters, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def _instant(at_ms: int | None) -> str | None:
    """ISO 8601 in UTC; a stranger's record may hold an instant that no calendar has."""
    if at_ms is None:
        return None
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace(
        "+00:00", "Z"
    )
