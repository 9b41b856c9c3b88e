"""Instants as people type them."""

import pytest

from saec.cli.errors import InputError
from saec.cli.instants import parse_instant

NOW_MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("now", NOW_MS),
        ("+10s", NOW_MS + 10_000),
        ("+5m", NOW_MS + 300_000),
        ("+2h", NOW_MS + 7_200_000),
        ("+1d", NOW_MS + 86_400_000),
        ("+250ms", NOW_MS + 250),
        ("1970-01-01T00:00:01.0001Z", 1_001),
    ],
)
def test_forms(text: str, expected_ms: int) -> None:
    assert parse_instant("--at", text, NOW_MS) == expected_ms


@pytest.mark.parametrize("text", ["", "10s", "-10s", "+s", "+1y", "tomorrow", "2026-12-01T09:00"])
def test_anything_else_is_told_with_the_forms(text: str) -> None:
    with pytest.raises(InputError, match=r"--at: give ISO 8601"):
        parse_instant("--at", text, NOW_MS)
