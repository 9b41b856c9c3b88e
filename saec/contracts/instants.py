"""Instants as people write them, turned into epoch milliseconds and back.

Invariant: an instant finer than a millisecond is rounded up, so nothing is ever early.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import overload

MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

FIRST_PLAUSIBLE_MS = 100_000_000_000
"""As milliseconds a day of 1973; as seconds, the year 5138."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,18}))?"
_ISO = re.compile(_LOCAL + r"(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)")
_TYPESET = r"[\u2010-\u2015\u2212\ufe63\uff0d]"  # hyphens, dashes and minuses beside the ASCII one
_WRONG = [
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"\s.*|.*\s", "whitespace before or behind it"),
        (f"[^{_TYPESET[1:-1]}]*{_TYPESET}.*", "a dash or another minus; write the ASCII one"),
        (
            r"[0-9]{1,40}(\.[0-9]{1,40})?",
            "a number in quotation marks; give epoch milliseconds as a number, or ISO 8601",
        ),
        (_LOCAL, "no zone; end with Z or an offset such as -03:00"),
        (_LOCAL + "[0-9].*", "more than 18 digits behind the second"),
        (_LOCAL + r"\s.*", "a blank between the time and the offset"),
        (_LOCAL + r"[+-][0-9:]*", "an offset that is neither like -03:00 nor like -03"),
        (
            _LOCAL + ".*",
            "no offset behind the time; end with Z or -03:00 or such; a zone's name is not read",
        ),
    )
]
"""What an instant that is none looks like, and what is said of it; the first that fits."""


def instant_ms(value: object) -> int:
    """Epoch milliseconds of an ISO 8601 text with a zone, or of an int that already is that.

    Raises ValueError for anything else, and for instants outside 1970 to 9999; it says what is
    wrong, and never quotes the value.
    """
    if isinstance(value, str):
        instant = _iso_ms(value)
    elif type(value) is int:  # a bool is an int too, but not an instant
        instant = value
    elif isinstance(value, float):
        raise ValueError("a number with a fraction; epoch milliseconds are whole")
    else:
        raise ValueError("neither ISO 8601 with a zone nor epoch milliseconds")
    if not 0 <= instant <= MAX_MS:
        hint = "" if isinstance(value, str) else "; a number counts milliseconds"
        raise ValueError(f"not between 1970 and 9999{hint}")
    return instant


@overload
def iso(at_ms: int) -> str: ...


@overload
def iso(at_ms: None) -> None: ...


def iso(at_ms: int | None) -> str | None:
    """An instant as ISO 8601 in UTC, to the millisecond.

    A stranger's record may hold one that no calendar has: that is told in milliseconds.
    """
    if at_ms is None:
        return None
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)  # a float of seconds is too coarse after 2106
    except OverflowError:
        return f"{at_ms} ms"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _iso_ms(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(_what_is_wrong(text))
    day, minute, second, fraction, sign, hours, minutes = match.groups()
    if fraction and not second:
        raise ValueError("a fraction of a minute")
    if second == ":60":
        raise ValueError("a leap second; give the second after it")
    # the zone is subtracted as a number: near the years 1 and 9999 a datetime would overflow
    local = _local(f"{day}T{minute}{second or ':00'}")
    return int(local.timestamp()) * 1000 + _ceil_ms(fraction) - _offset_ms(sign, hours, minutes)


def _local(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("no such day or time of day") from None


def _what_is_wrong(text: str) -> str:
    for pattern, words in _WRONG:
        if pattern.fullmatch(text):
            return words
    return "not ISO 8601, such as 2026-12-01T09:00:00-03:00"


def _ceil_ms(fraction: str | None) -> int:
    """Milliseconds of the digits after the decimal point, rounded up."""
    return -(-int(fraction) * 1000 // 10 ** len(fraction)) if fraction else 0


def _offset_ms(sign: str | None, hours: str | None, minutes: str | None) -> int:
    if sign is None or hours is None:
        return 0
    if int(hours) > 23 or int(minutes or 0) > 59:
        raise ValueError("no such offset")
    offset = (int(hours) * 60 + int(minutes or 0)) * 60_000
    return -offset if sign == "-" else offset
