"""Guard: small runs whose ratios must not fall far below those that are committed.

Every ratio is one of SAEC over what limits it, so that higher is better. `--record` writes down the
ratios of this run as those to be kept (`bench/limits.json`). While others take much of the machine
ratios say nothing: then only what the readers saw is judged.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from bench import burst, ingest, lateness
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
_SMALL: tuple[tuple[Part, tuple[str, ...]], ...] = (
    (burst.PART, ("--messages", "50000", "--workers", "1", "--lead", "4", "--linger", "1")),
    (ingest.PART, ("--requests", "50000", "--consumers", "1", "--linger", "1")),
    (lateness.PART, ("--seconds", "10", "--pending", "0", "--recipients", "0", "--linger", "1")),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Whether to compare or to write down."""
    parser.add_argument("--record", action="store_true", help="commit to the ratios of this run")


def run(lab: Lab, given: Options) -> bool:
    """Whether everything is exact, and as fast as it was."""
    outcomes = [_small(lab, part, sizes) for part, sizes in _SMALL]
    exact = all(outcome.exact for outcome in outcomes)
    others = statistics.median(one for outcome in outcomes for one in outcome.by_others)
    if others > MOST_BY_OTHERS:
        say(f"ratios NOT JUDGED: others took {others:.2f} cores in half of the runs")
        return exact
    ratios = {
        f"{outcome.part}: {name}": one
        for outcome in outcomes
        for name, one in outcome.ratios.items()
    }
    if given.record:
        medians = {name: round(one.median, 3) for name, one in ratios.items()}
        LIMITS.write_text(json.dumps(medians, indent=1) + "\n")
    found = slower(ratios, json.loads(LIMITS.read_text()) if LIMITS.exists() else {})
    for line in found:
        say(line)
    return exact and not found


def slower(ratios: Mapping[str, Spread], committed: Mapping[str, float]) -> list[str]:
    """In words, what is missing or below its share of what is committed."""
    found = [f"not measured: {name}" for name in committed.keys() - ratios.keys()]
    found += [f"not committed: {name}" for name in ratios.keys() - committed.keys()]
    for name in committed.keys() & ratios.keys():
        least = committed[name] * LEAST_SHARE
        if ratios[name].median < least:
            found.append(f"{name}: {ratios[name].text()} is below {shown(least)}")
    return sorted(found)


def _small(lab: Lab, part: Part, sizes: tuple[str, ...]) -> Outcome:
    parser = argparse.ArgumentParser()
    part.add_options(parser)
    say(f"== {part.name} {' '.join(sizes)}")
    outcome = part.run(lab, parser.parse_args(sizes))
    say(outcome.text())
    return outcome
