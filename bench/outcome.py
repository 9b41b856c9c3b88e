"""What a part of the suite found: every run of every side, and the ratios between them.

Invariant: the file holds each single run, so that medians and spreads can be checked.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.meter import OTHERS, Weight
from bench.ratios import Spread, ratio, table
from bench.seen import Seen
from bench.targets import Target


@dataclass
class Run:
    """One run of one side. `extra` is what only this part measures."""

    rate: float
    seen: Seen | None = None
    weights: dict[str, Weight] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """For the results file."""
        return {
            "rate": self.rate,
            "seen": self.seen.fields() if self.seen else None,
            "weights": {name: vars(weight) for name, weight in self.weights.items()},
            **self.extra,
        }

    def text(self) -> str:
        """In one line."""
        parts = [f"{self.rate:,.0f}/s"] if self.rate else []
        if self.seen is not None:
            seen = self.seen
            wrong = f"missing {seen.missing}, duplicate {seen.duplicate}, early {seen.early}"
            parts.append("exact" if seen.exact else f"{wrong}, unexpected {seen.unexpected}")
        parts += [f"{name} {value}" for name, value in self.extra.items() if _is_short(value)]
        parts += [
            f"{name} {weight.cpu_share:.2f} cores {weight.peak_mb:.0f} MB"
            for name, weight in self.weights.items()
        ]
        return "; ".join(parts)


@dataclass
class Outcome:
    """All runs of a part."""

    part: str
    sizes: dict[str, Any]
    machine: dict[str, Any]
    sides: dict[str, list[Run]] = field(default_factory=dict)
    figures: dict[str, Spread] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def add(self, side: str, run: Run) -> None:
        """One more run of a side."""
        self.sides.setdefault(side, []).append(run)

    def values(self, side: str, of: Callable[[Run], float]) -> list[float]:
        """One value of each run of a side."""
        return [of(run) for run in self.sides[side]]

    def rates(self) -> None:
        """Take the rate of each side as a figure."""
        for side in self.sides:
            self.figure(f"{side}, per second", side, lambda run: run.rate)

    def figure(self, name: str, side: str, of: Callable[[Run], float]) -> None:
        """Take one value of each run of a side as a figure."""
        self.figures[name] = Spread.of(self.values(side, of))

    def compare(self, name: str, over: str, under: str, of: Callable[[Run], float]) -> None:
        """One side over the other, round by round; not when a side was over at the first look."""
        upper, lower = self.values(over, of), self.values(under, of)
        if all(upper) and all(lower):
            self.ratios[name] = ratio(upper, lower)

    def hold(self, targets: Mapping[str, Target]) -> None:
        """Hold the ratios against these targets; one that is missed fails the part."""
        for name in self.ratios.keys() & targets.keys():
            if targets[name].judge(self.ratios[name].median) == "missed":
                self.missed.append(
                    f"{name}: {self.ratios[name].text()}, not {targets[name].must:g}"
                )

    @property
    def by_others(self) -> list[float]:
        """How many cores others took in each run."""
        return [
            run.weights[OTHERS].cpu_share
            for runs in self.sides.values()
            for run in runs
            if OTHERS in run.weights
        ]

    @property
    def most_by_others(self) -> float:
        """The most cores that others took in any run."""
        return max(self.by_others, default=0.0)

    @property
    def exact(self) -> bool:
        """Whether every reader saw exactly what was asked for."""
        return all(
            run.seen is None or run.seen.exact for runs in self.sides.values() for run in runs
        )

    @property
    def well(self) -> bool:
        """Whether it is exact and holds what it was held against."""
        return self.exact and not self.missed

    def text(self) -> str:
        """For people."""
        exact = "exact" if self.exact else "NOT EXACT, see the runs"
        lines = [f"{self.part}: {exact}; others took up to {self.most_by_others:.2f} cores"]
        lines += [table(self.figures), table(self.ratios)]
        lines += [f"  MISSED {one}" for one in sorted(self.missed)]
        return "\n".join(line for line in lines if line)

    def write(self, path: Path) -> None:
        """The results file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "part": self.part,
            "sizes": self.sizes,
            "machine": self.machine,
            "exact": self.exact,
            "most_by_others": self.most_by_others,
            "figures": {name: one.fields() for name, one in self.figures.items()},
            "ratios": {name: one.fields() for name, one in self.ratios.items()},
            "sides": {side: [run.fields() for run in runs] for side, runs in self.sides.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n")


def extra(name: str) -> Callable[[Run], float]:
    """What takes this value of what only one part measures."""
    return lambda run: float(run.extra[name])


def cpu_percent(process: str) -> Callable[[Run], float]:
    """What takes how much of a core a process took."""
    return lambda run: run.weights[process].cpu_share * 100


def peak_mb(process: str) -> Callable[[Run], float]:
    """What takes how much memory a process took."""
    return lambda run: run.weights[process].peak_mb


def _is_short(value: object) -> bool:
    return isinstance(value, int | float | str)
