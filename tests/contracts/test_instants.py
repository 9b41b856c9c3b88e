"""Instants, from text and numbers to milliseconds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts.instants import MAX_MS, instant_ms, iso


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-12-01T09:00:00-03:00", 1_796_126_400_000),
        ("2026-12-01T12:00Z", 1_796_126_400_000),
        ("2026-12-01 12:00:00+0000", 1_796_126_400_000),
        ("2026-12-01t12:00:00z", 1_796_126_400_000),
        ("2026-12-01 12:00:00+00", 1_796_126_400_000),
        ("2026-12-01T09:00:00-03", 1_796_126_400_000),
        ("2026-12-01T12:00:00.5+00", 1_796_126_400_500),
        ("2026-12-01T12:00:00.5Z", 1_796_126_400_500),
        ("2026-12-01T12:00:00,5Z", 1_796_126_400_500),
        ("2026-12-01T12:00:00.0001Z", 1_796_126_400_001),
        ("2026-12-01T12:00:00.000000001Z", 1_796_126_400_001),
        ("2026-12-01T12:00:00.999999999Z", 1_796_126_401_000),
        ("9999-12-31T23:59:59.999Z", MAX_MS),
    ],
)
def test_iso_8601_with_a_zone(text: str, expected_ms: int) -> None:
    assert instant_ms(text) == expected_ms


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "2026-12-01", "2026-12-01T12:00:00", "2026-12-01T12Z", "20261201T120000Z"),
        *("2026-13-01T12:00:00Z", "2026-02-30T12:00:00Z", "2026-12-01T24:00:00Z"),
        *("2026-12-01T12:00:60Z", "2026-12-01T12:00:00+24:00", "2026-12-01T12:00:00+00:60"),
        *("2026-12-01T12:00.5Z", "2026-12-01T12:00:00Z\n", "٢٠٢٦-12-01T12:00:00Z"),
        *("2026-12-01T12:00:00." + "9" * 19 + "Z", "9" * 100_000),
        *("0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59-00:01"),
        *("9999-12-31T23:59:59.9999Z", "0000-01-01T00:00:00Z"),
        *(True, None, 1.0, -1, MAX_MS + 1, 10**30, b"0", ["0"]),
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        instant_ms(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2026-12-01T09:00:00-3", "neither like -03:00 nor like -03"),
        ("2026-12-01T09:00:00-030", "neither like -03:00 nor like -03"),
        ("2026-12-01T09:00:00 -03:00", "blank"),
        ("2026-12-01T12:00:00Z\n", "whitespace"),
        (" 2026-12-01T12:00:00Z", "whitespace"),
        ("2026-12-01T09:00:00\N{MINUS SIGN}03:00", "ASCII"),
        ("2026-12-01T09:00:00\N{EN DASH}03:00", "ASCII"),
        ("2026-12-01T12:00:00." + "9" * 19 + "Z", "18 digits"),
        ("2026-12-01T12:00:00", "no zone"),
        ("2026-12-01T09:00:00[America/Sao_Paulo]", "name"),
        ("1796126400000", "quotation marks"),
        ("1796126400.123456789", "quotation marks"),
        (1_796_126_400.5, "whole"),
        (1_796_126_400_000.0, "whole"),
    ],
)
def test_what_is_wrong_is_said(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        instant_ms(value)


def test_only_a_number_is_told_what_a_number_counts() -> None:
    with pytest.raises(ValueError, match=r"9999$"):
        instant_ms("0001-01-01T00:00:00Z")
    with pytest.raises(ValueError, match="milliseconds"):
        instant_ms(-1)


@given(st.integers(0, MAX_MS))
def test_a_number_is_taken_as_it_is(value: int) -> None:
    assert instant_ms(value) == value


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
    st.integers(-23 * 60, 23 * 60),
)
def test_never_early_and_less_than_a_millisecond_late(at: datetime, offset_min: int) -> None:
    zoned = at.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    exact_us = (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert 0 <= instant_ms(zoned.isoformat()) * 1_000 - exact_us < 1_000


@given(st.integers(0, MAX_MS))
def test_what_is_written_is_read_as_the_same_instant(at_ms: int) -> None:
    assert instant_ms(iso(at_ms)) == at_ms


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (1_796_126_400_000, "2026-12-01T12:00:00.000Z"),
        (MAX_MS, "9999-12-31T23:59:59.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (MAX_MS + 1, f"{MAX_MS + 1} ms"),
        (-(2**63), f"{-(2**63)} ms"),
        (2**63 - 1, f"{2**63 - 1} ms"),
        (None, None),
    ],
)
def test_written_in_utc_or_told_in_milliseconds(at_ms: int | None, text: str | None) -> None:
    assert iso(at_ms) == text
