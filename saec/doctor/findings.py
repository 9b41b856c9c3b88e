"""What a check found: how bad it is, what was seen, what to do.

Invariant: what is not fine says what to do; nothing quotes what a stranger wrote.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is. An error breaks a promise of SAEC, now or at the next failure."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of one check; `advice` is None only when all is well."""

    check: str
    level: Level
    found: str
    advice: str | None = None


def warning(check: str, found: str, advice: str) -> Finding:
    """Something to look at."""
    return Finding(check, Level.WARNING, found, advice)


def error(check: str, found: str, advice: str) -> Finding:
    """Something that breaks a promise."""
    return Finding(check, Level.ERROR, found, advice)


def or_fine(check: str, bad: Iterable[Finding], fine: str) -> list[Finding]:
    """What is not fine, or else that all is well."""
    return list(bad) or [Finding(check, Level.OK, fine)]


def some(names: Iterable[object], most: int = 8) -> str:
    """A list for people: the first few, and how many more."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
