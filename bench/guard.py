"""Guard: small runs whose ratios must not fall far below those that are committed.

Every ratio is one of SAEC over what limits it, so that higher is better. `--record` writes down the
ratios of this run as those to be kept (`bench/limits.json`). A part that seems slower is measured
once more before it fails, and the rounds of both count. What is slower while others take much of
the machine says nothing: then only what the readers saw is judged. HTTP is measured where wrk is.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import burst, ingest, lateness
from bench.http import part as http
from bench.http import wrk
from bench.lab import Lab
from bench.outcome import Outcome
from bench.part import Options, Part
from bench.ratios import Spread, shown
from bench.say import say

WHAT = __doc__ or ""
EXAMPLE = "python -m bench guard"
LIMITS = Path(__file__).with_name("limits.json")
LEAST_SHARE = 0.8
MOST_BY_OTHERS = 0.5
_ONCE_MORE = "slower than it may be: measured once more, the rounds of both count"
_SMALL: tuple[tuple[Part, tuple[str, ...]], ...] = (
    (burst.PART, ("--messages=40000", "--workers=1", "--raw-runs=3", "--lead=1", "--linger=1")),
    (ingest.PART, ("--requests=40000", "--consumers=1", "--linger=1")),
    (
        lateness.PART,
        ("--seconds=4", "--pending=0", "--recipients=0", "--lead=1.5", "--linger=1"),
    ),
    (
        http.PART,
        ("--connections=64", "--seconds=2", "--warm-up=1", "--lines=0", "--away=0", "--rounds=2"),
    ),
)


@dataclass(frozen=True)
class Measured:
    """What a part came to. `by_others`: the cores that others took in each run."""

    ratios: dict[str, Spread]
    by_others: list[float]
    exact: bool

    @classmethod
    def of(cls, outcome: Outcome) -> "Measured":
        """Its ratios, named as they are committed."""
        ratios = {f"{outcome.part}: {name}": one for name, one in outcome.ratios.items()}
        return cls(ratios, outcome.by_others, outcome.exact)

    def joined(self, again: "Measured") -> "Measured":
        """The rounds of both."""
        rounds: dict[str, tuple[float, ...]] = {}
        for name, one in (*self.ratios.items(), *again.ratios.items()):
            rounds[name] = rounds.get(name, ()) + one.values
        return Measured(
            {name: Spread.of(values) for name, values in rounds.items()},
            self.by_others + again.by_others,
            self.exact and again.exact,
        )

    @property
    def busy(self) -> bool:
        """Whether others took much of the machine in half of the runs."""
        return statistics.median(self.by_others) > MOST_BY_OTHERS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Whether to compare or to write down."""
    parser.add_argument("--record", action="store_true", help="commit to the ratios of this run")


def run(lab: Lab, given: Options) -> bool:
    """Whether everything is exact, and as fast as it was."""
    if given.record:
        return _record(lab)
    committed = json.loads(LIMITS.read_text())
    judged = [is_well(lab, part, sizes, committed) for part, sizes in _SMALL if _can_run(part)]
    known = tuple(_prefix(part) for part, _ in _SMALL)
    unknown = [name for name in committed if not name.startswith(known)]
    for name in unknown:
        say(f"not measured: {name}")
    return all(judged) and not unknown


def _can_run(part: Part) -> bool:
    """Whether its tools are here. Nobody has to install any for the guard; CI does."""
    if part is not http.PART or wrk.is_here():
        return True
    say(f"{part.name} NOT MEASURED: {wrk.MISSING}")
    return False


def _record(lab: Lab) -> bool:
    measured = [_measure(lab, part, sizes) for part, sizes in _SMALL]
    if any(of.busy for of in measured):
        say("NOT RECORDED: others took much of the machine")
        return False
    ratios = {name: one for of in measured for name, one in of.ratios.items()}
    medians = {name: round(one.median, 3) for name, one in ratios.items()}
    LIMITS.write_text(json.dumps(medians, indent=1) + "\n")
    return all(of.exact for of in measured)


def is_well(
    lab: Lab, part: Part, sizes: tuple[str, ...], every_committed: Mapping[str, float]
) -> bool:
    """Whether a part is exact, and as fast as committed, when measured once or else twice."""
    prefix = _prefix(part)
    committed = {name: one for name, one in every_committed.items() if name.startswith(prefix)}
    measured = _measure(lab, part, sizes)
    if slower(measured.ratios, committed):
        say(_ONCE_MORE)
        measured = measured.joined(_measure(lab, part, sizes))
    found = slower(measured.ratios, committed)
    for line in found:
        say(line)
    if found and measured.busy:
        say(f"{part.name} NOT JUDGED: others took much of the machine in half of the runs")
        return measured.exact
    return measured.exact and not found


def slower(ratios: Mapping[str, Spread], committed: Mapping[str, float]) -> list[str]:
    """In words, what is missing or below its share of what is committed."""
    found = [f"not measured: {name}" for name in committed.keys() - ratios.keys()]
    found += [f"not committed: {name}" for name in ratios.keys() - committed.keys()]
    for name in committed.keys() & ratios.keys():
        least = committed[name] * LEAST_SHARE
        if ratios[name].median < least:
            found.append(f"{name}: {ratios[name].text()} is below {shown(least)}")
    return sorted(found)


def _measure(lab: Lab, part: Part, sizes: tuple[str, ...]) -> Measured:
    parser = argparse.ArgumentParser()
    part.add_options(parser)
    say(f"== {part.name} {' '.join(sizes)}")
    outcome = part.run(lab, parser.parse_args(sizes))
    say(outcome.text())
    return Measured.of(outcome)


def _prefix(part: Part) -> str:
    return f"{part.name}: "
