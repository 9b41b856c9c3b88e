"""Burst: many requests of one customer each, all due at one instant.

One worker, two workers, and beside them a transactional producer that has the same encoded records
in memory, in transactions of the same size. Each side goes first in turn. A run of the raw producer
is short: of several in a round the middle one counts.
"""

import argparse
from dataclasses import replace

from bench import preload
from bench.at_once import LOOK_S, sent_at_once, topics, wait_for_all
from bench.ends import ends
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run
from bench.part import Options, Part, numbers, sizes
from bench.ratios import rotated
from bench.raw import Range, between, raw
from bench.reader import reading
from bench.say import say
from bench.seen import judge
from bench.site import Site
from bench.workload import Singles

RAW = "raw producer"
WARM_UP = "warm up"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=200_000, help="requests due at once")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--workers", type=numbers, default=(1, 2), help="as 1,2")
    parser.add_argument("--transaction", type=int, default=5_000, help="records, of the raw one")
    parser.add_argument("--raw-runs", type=int, default=1, help="of the raw one in a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--lead", type=float, default=8.0, help="seconds from stored to due")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


def side(workers: int) -> str:
    """The name of SAEC's side with so many workers."""
    return f"{workers} worker{'s' if workers > 1 else ''}"


def run(lab: Lab, given: Options) -> Outcome:
    """Every side in every round."""
    outcome = Outcome("burst", sizes(given), described(lab))
    site = lab.site("saec")
    preload.registry(site, given.customers)
    say("a first run, to warm up and for the records of the raw producer")
    copied = warm_up(lab, site, given)
    sides = {side(count): count for count in given.workers}
    for number in range(given.rounds):
        for name in rotated([*sides, RAW], number):
            if name == RAW:
                done = raw_runs(lab, site, copied, given)
            else:
                done = saec_run(lab, site, given, sides[name], f"{name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    outcome.rates()
    for name in sides:
        outcome.compare(f"{name} / {RAW}", name, RAW, lambda run: run.rate)
    return outcome


def warm_up(lab: Lab, site: Site, given: Options) -> Range:
    """One run that does not count; where its records are."""
    before = ends(lab.bootstrap_servers, topics(site))
    say(f"  {saec_run(lab, site, given, 1, WARM_UP).text()}")
    return between(before, ends(lab.bootstrap_servers, topics(site)))


def saec_run(lab: Lab, site: Site, given: Options, workers: int, label: str) -> Run:
    """One run of SAEC."""

    def asked(due_ms: int) -> Singles:
        return Singles(f"burst {label}", (due_ms,) * given.messages, given.customers)

    return sent_at_once(lab, site, given, asked, workers=workers, rows=given.messages)


def raw_runs(lab: Lab, site: Site, copied: Range, given: Options) -> Run:
    """The middle one of its runs, with the rates of all."""
    runs = [raw_run(lab, site, copied, given) for _ in range(given.raw_runs)]
    runs.sort(key=lambda run: run.rate)
    return replace(runs[len(runs) // 2], extra={"rates": [run.rate for run in runs]})


def raw_run(lab: Lab, site: Site, copied: Range, given: Options) -> Run:
    """The records of the first run once more, by the raw producer."""
    asked = Singles(f"burst {WARM_UP}", (0,) * given.messages, given.customers)
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, list(copied), lab.fresh("seen"), look_every_s=LOOK_S) as r,
        raw(lab.bootstrap_servers, copied, given.transaction) as producer,
    ):
        meter.watch("reader", r.pid)
        if producer.records != given.messages:
            raise RuntimeError(f"the first run left {producer.records} records")
        meter.watch(RAW, producer.pid)
        site.settle()
        meter.restart()
        producer.go()
        wait_for_all(r, given.messages)
        weights = meter.weights()
        seen = replace(judge(r.finish(), asked.expected()), lateness=None)
    return Run(seen.rate, seen, weights)


PART = Part(
    "burst",
    __doc__ or "",
    "python -m bench burst --messages 20000 --rounds 3",
    add_options,
    run,
)
