"""Hours put together into as few spans as a plot or a table can show.

Invariant: what was asked is in exactly one span; no span is missing between two others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from saec.audit.findings import Kind
from saec.audit.report import HOUR_MS, Tally

MOST = 72
_WIDTHS = (1, 2, 3, 6, 12, 24, 168, 672)  # hours, up to a week and four weeks
_MONDAY_MS = 4 * 24 * HOUR_MS  # the first one of the epoch
_END_MS = 32_503_680_000_000  # the year 3000: no calendar can draw whatever a record may hold
_COUNTS = [field.name for field in fields(Tally) if field.name != "found"]


@dataclass(frozen=True, slots=True)
class Span:
    """What is due from `start_ms` until before `end_ms`."""

    start_ms: int
    end_ms: int
    tally: Tally


def spans(by_hour: Mapping[int, Tally], most: int = MOST) -> list[Span]:
    """At most so many spans of the same width, from the first hour asked for to the last.

    They begin at whole hours, days (UTC) or weeks (Monday). What was found about an instant that
    nobody asked for is in none of them unless it lies between.
    """
    asked = [hour for hour, tally in by_hour.items() if tally.asked and 0 <= hour < _END_MS]
    if not asked:
        return []
    first, last = min(asked), max(asked)
    width = _width(first, last, most)
    held: dict[int, list[Tally]] = {
        start: [] for start in range(_start(first, width), last + 1, width)
    }
    for hour, tally in by_hour.items():
        if (start := _start(hour, width)) in held:
            held[start].append(tally)
    return [Span(start, start + width, added(tallies)) for start, tallies in held.items()]


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum."""
    counts = dict.fromkeys(_COUNTS, 0)
    found: Counter[Kind] = Counter()
    for tally in tallies:
        for name in _COUNTS:
            counts[name] += getattr(tally, name)
        found.update(tally.found)
    return Tally(**counts, found=dict(found))


def _width(first: int, last: int, most: int) -> int:
    for width in (hours * HOUR_MS for hours in _WIDTHS):
        if (last - _start(first, width)) // width < most:
            return width
    widest = _WIDTHS[-1] * HOUR_MS
    return widest * -(-((last - first) // widest + 1) // (most - 2))


def _start(hour_ms: int, width: int) -> int:
    return (hour_ms - _MONDAY_MS) // width * width + _MONDAY_MS
