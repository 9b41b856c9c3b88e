"""Audit: a long history, reconciled by `saec audit`, and beside it only read.

The history is generated once (`bench/audit/history.py`). Then every side reads it from beginning to
end, a process each, and goes first in turn: a consumer with the client's defaults, one that is
tuned, and the audit. Rates are of records, over the whole life of the process.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from bench.audit import history, plain
from bench.audit.weighed import Weighed, weighed
from bench.child import module
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, sizes
from bench.processes import environment
from bench.ratios import rotated
from bench.say import say
from bench.site import Site

HISTORY, DEFAULTS, TUNED, AUDIT = "history", "plain, defaults", "plain, tuned", "saec audit"
COMMAND = (str(Path(sys.executable).with_name("saec")), "audit", "--json")
_RECORDS = ("messages", "records of requests", "records of status", "records of ledger")
_SHOWN = 2_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=10_000_000, help="in the channel topics")
    parser.add_argument("--processes", type=int, default=2, help="that generate the history")
    parser.add_argument("--seed", type=int, default=1, help="of the history")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")


def run(lab: Lab, given: Options) -> Outcome:
    """Every side in every round."""
    outcome = Outcome("audit", sizes(given), described(lab))
    site = lab.site("audit")
    say("a history is generated")
    records = _generate(site, given, outcome)
    for number in range(given.rounds):
        for name in rotated([DEFAULTS, TUNED, AUDIT], number):
            done = _side(lab, site, name, records)
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    outcome.rates()
    for name in (DEFAULTS, TUNED, AUDIT):
        for what in ("seconds", "cpu_s", "peak_mb"):
            outcome.figure(f"{name}, {what}", name, extra(what))
    outcome.figure(f"{AUDIT}, temporary_mb", AUDIT, extra("temporary_mb"))
    for name in (DEFAULTS, TUNED):
        outcome.compare(f"{AUDIT} / {name}", AUDIT, name, lambda run: run.rate)
    return outcome


def _generate(site: Site, given: Options, outcome: Outcome) -> int:
    """The history; how many records an audit of it reads."""
    began_s = time.monotonic()
    wanted = history.Wanted(given.messages, processes=given.processes, seed=given.seed)
    tally = history.write(site.settings, wanted)
    rate = tally["messages"] / (time.monotonic() - began_s)
    outcome.add(HISTORY, Run(round(rate), extra={"comes_to": dict(sorted(tally.items()))}))
    records = sum(tally[kind] for kind in _RECORDS)
    say(f"  {tally['messages']:,} messages, {records:,} records, {rate:,.0f} messages a second")
    return records


def _side(lab: Lab, site: Site, name: str, records: int) -> Run:
    """One process from its start to its end.

    Raises:
        RuntimeError: it did not read all of it, or found something.
    """
    command = COMMAND if name == AUDIT else _plain(site, name)
    with Meter(lab.pids) as meter:
        done = weighed(command, environment(site), lambda pid: meter.watch(name, pid))
        weights = meter.weights()
    _check(name, done, records)
    measured = {key: value for key, value in vars(done).items() if key not in {"code", "said"}}
    return Run(round(records / done.seconds), weights=weights, extra=measured)


def _plain(site: Site, name: str) -> list[str]:
    topics = plain.audited(site.settings)
    command = module("bench.audit.plain", site.settings.bootstrap_servers, *topics)
    return [*command, "--tuned"] if name == TUNED else command


def _check(name: str, done: Weighed, records: int) -> None:
    if done.code != 0:
        raise RuntimeError(f"{name} ended with {done.code}: {done.said[:_SHOWN]}")
    if name == AUDIT:
        return
    found = Counter(json.loads(done.said))
    if found["records"] != records:
        raise RuntimeError(f"{name} read {found['records']} records, not {records}")


PART = Part(
    "audit",
    __doc__ or "",
    "python -m bench audit --messages 20000 --rounds 1",
    add_options,
    run,
)
