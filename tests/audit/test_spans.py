"""Hours are put together into few spans, and nothing that was asked is lost on the way."""

import pytest

from saec.audit.findings import Kind
from saec.audit.report import HOUR_MS, Tally
from saec.audit.spans import MOST, added, spans

DAY_MS = 24 * HOUR_MS
START_MS = 1_794_528_000_000  # 2026-11-13T00:00:00Z, a Friday


def tally(asked: int = 1, **found: int) -> Tally:
    return Tally(asked, asked, asked, 0, 0, 0, 0, 0, {Kind(kind): n for kind, n in found.items()})


@pytest.mark.parametrize(
    ("hours", "width"),
    [(1, 1), (72, 1), (73, 2), (144, 2), (800, 12), (24 * 60, 24), (24 * 400, 168), (17_520, 672)],
)
def test_as_narrow_as_there_is_room_for(hours: int, width: int) -> None:
    parts = spans({START_MS + hour * HOUR_MS: tally() for hour in range(hours)})
    assert len(parts) <= MOST
    assert {one.end_ms - one.start_ms for one in parts} == {width * HOUR_MS}
    assert sum(one.tally.asked for one in parts) == hours
    assert [one.end_ms for one in parts[:-1]] == [one.start_ms for one in parts[1:]]


def test_however_long_it_is_there_are_few() -> None:
    for weeks in (289, 1_000, 52_000):
        parts = spans({0: tally(), weeks * 7 * DAY_MS: tally(), 2**60: tally()})
        assert MOST // 2 < len(parts) <= MOST
        assert sum(one.tally.asked for one in parts) == 2


def test_weeks_begin_on_monday_and_days_at_midnight() -> None:
    weeks = spans({START_MS: tally(), START_MS + 100 * DAY_MS: tally()})
    assert weeks[0].start_ms == START_MS - 4 * DAY_MS
    days = spans({START_MS + 5 * HOUR_MS: tally(), START_MS + 30 * DAY_MS: tally()})
    assert days[0].start_ms == START_MS


def test_hours_without_anything_are_there() -> None:
    parts = spans({START_MS: tally(3), START_MS + 3 * HOUR_MS: tally(4)})
    assert [one.tally.asked for one in parts] == [3, 0, 0, 4]


def test_an_instant_nobody_asked_for_does_not_widen_it() -> None:
    found = tally(0, unrequested=2)
    hours = {-(2**53): found, START_MS: tally(), START_MS + HOUR_MS: found, 2**60: found}
    parts = spans({**hours, START_MS + 2 * HOUR_MS: tally()})
    assert [one.tally.found for one in parts] == [{}, {Kind.UNREQUESTED: 2}, {}]


def test_nothing_asked_nothing_to_show() -> None:
    assert spans({}) == []
    assert spans({START_MS: tally(0, foreign=1)}) == []


def test_a_sum_keeps_what_was_found_about_no_message() -> None:
    whole = added([tally(1, missing=2, foreign=0), tally(5, missing=1)])
    assert (whole.asked, whole.found) == (6, {Kind.MISSING: 3, Kind.FOREIGN: 0})
