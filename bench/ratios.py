"""Figures that were taken several times, and ratios of figures of the same round.

Invariant: a ratio compares two sides of one round; of rounds the median counts, with the lowest and
the highest beside it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Several values of one figure."""

    median: float
    lowest: float
    highest: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))

    def text(self) -> str:
        """The median, and from where to where."""
        return f"{shown(self.median)} ({shown(self.lowest)} to {shown(self.highest)})"

    def fields(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """One side over the other, round by round."""
    return Spread.of([a / b for a, b in zip(over, under, strict=True)])


def rotated(sides: Sequence[str], round_no: int) -> list[str]:
    """The order of the sides in a round: each one goes first in turn."""
    shift = round_no % len(sides)
    return [*sides[shift:], *sides[:shift]]


def shown(value: float) -> str:
    """With as many digits as it has meaning in."""
    digits = 0 if value >= 1_000 else 1 if value >= 10 else 3
    return f"{value:,.{digits}f}"


def table(figures: Mapping[str, Spread]) -> str:
    """The figures, one a line."""
    width = max(map(len, figures), default=0)
    return "\n".join(f"  {name:<{width}}  {one.text()}" for name, one in figures.items())
