"""Instants as people type them: ISO 8601 with a zone, `now`, or `+10s` from now.

Invariant: rounded up to the millisecond, so nothing is ever early.
"""

import re
import time
from contextlib import suppress

from saec.cli.errors import InputError
from saec.contracts.instants import MAX_MS, instant_ms

FORMS = "ISO 8601 with a zone (2026-12-01T09:00:00-03:00), `now`, or +10s, +5m, +2h, +1d"

_COMING_FORMS = "90d (from now), or ISO 8601 with a zone (2026-12-01T09:00:00-03:00)"
_PAST_FORMS = "10m (that long ago), `now`, or ISO 8601 with a zone (2026-12-01T09:00:00-03:00)"

_RELATIVE = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def wall_ms() -> int:
    """This machine's clock, in epoch milliseconds."""
    return -(-time.time_ns() // 1_000_000)


def parse_instant(option: str, text: str, now_ms: int) -> int:
    """Epoch milliseconds of what was given to `option`.

    Raises:
        InputError: none of the forms.
    """
    if text == "now":
        return now_ms
    try:
        return now_ms + duration_ms(text[1:]) if text.startswith("+") else instant_ms(text)
    except ValueError:
        raise InputError(f"{option}: give {FORMS}") from None


def parse_past(option: str, text: str, now_ms: int) -> int:
    """Epoch milliseconds of an instant that is not to come, or of `10m` ago.

    Raises:
        InputError: none of the forms, or in the future.
    """
    with suppress(ValueError):
        return max(0, now_ms - duration_ms(text))
    try:
        at_ms = now_ms if text == "now" else instant_ms(text)
    except ValueError:
        raise InputError(f"{option}: give {_PAST_FORMS}") from None
    if at_ms > now_ms:
        raise InputError(f"{option}: in the future; give {_PAST_FORMS}")
    return at_ms


def parse_coming(option: str, text: str, now_ms: int) -> int:
    """Epoch milliseconds of an instant that is to come, or of `90d` from now.

    Raises:
        InputError: none of the forms, not in the future, or behind the year 9999.
    """
    try:
        at_ms = now_ms + duration_ms(text)
    except ValueError:
        try:
            at_ms = instant_ms(text)
        except ValueError:
            raise InputError(f"{option}: give {_COMING_FORMS}") from None
    if not now_ms < at_ms <= MAX_MS:
        raise InputError(f"{option}: not in the future, or too far; give {_COMING_FORMS}")
    return at_ms


def parse_fixed(option: str, text: str) -> int:
    """Epoch milliseconds of an instant that is the same whenever it is typed.

    Raises:
        InputError: none, as a time ago would be.
    """
    try:
        return instant_ms(text)
    except ValueError:
        raise InputError(
            f"{option}: give ISO 8601 with a zone (2026-12-01T09:00:00-03:00); a time ago would be "
            "another one each time"
        ) from None


def duration_ms(text: str) -> int:
    """Milliseconds of `10s`, `5m`, `2h`, `1d`. Raises ValueError for anything else."""
    match = _RELATIVE.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    return int(match[1]) * _UNIT_MS[match[2]]
