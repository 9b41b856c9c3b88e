"""Burst: many requests of one customer each, all due at one instant.

One worker, two workers, and beside them a transactional producer that has the same encoded records
in memory, in transactions of the same size. Each side goes first in turn.
"""

import argparse
from dataclasses import replace

from bench import preload
from bench.instants import check_ahead, now_ms, pause, wait_until_ms
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run
from bench.part import Options, Part, numbers, sizes
from bench.processes import running
from bench.ratios import rotated
from bench.raw import Range, between, ends, raw
from bench.reader import Reader, reading
from bench.say import Progress, say
from bench.seen import judge
from bench.site import Site
from bench.workload import Singles
from saec.contracts.events import Channel

LOOK_S = 0.05
LONGEST_PAUSE_S = 60.0
RAW = "raw producer"
WARM_UP = "warm up"
_STORED_PER_S = 12_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=200_000, help="requests due at once")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--workers", type=numbers, default=(1, 2), help="as 1,2")
    parser.add_argument("--transaction", type=int, default=5_000, help="records, of the raw one")
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
                done = raw_run(lab, site, copied, given)
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
    topics = [site.settings.topics.dispatch[Channel.EMAIL]]
    before = ends(lab.bootstrap_servers, topics)
    done = saec_run(lab, site, given, 1, WARM_UP)
    say(f"  {done.text()}")
    return between(before, ends(lab.bootstrap_servers, topics))


def saec_run(lab: Lab, site: Site, given: Options, workers: int, label: str) -> Run:
    """Store, wait until it is due, and see it come."""
    site.empty()
    topics = [site.settings.topics.dispatch[Channel.EMAIL]]
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, topics, lab.fresh("seen"), look_every_s=LOOK_S) as reader,
        running(site, lab.processes_log, meter, dispatch=workers),
    ):
        meter.watch("reader", reader.pid)
        site.wait_until_owned(workers)
        due_ms = now_ms() + round((given.lead + given.messages / _STORED_PER_S) * 1000)
        asked = Singles(f"burst {label}", (due_ms,) * given.messages, given.customers)
        preload.singles(site, asked)
        site.settle()
        check_ahead(due_ms)
        wait_until_ms(due_ms)
        meter.restart()
        _wait_for_all(reader, given.messages)
        weights = meter.weights()
        pause(given.linger)
        seen = judge(reader.finish(), asked.expected())
    return Run(seen.rate, seen, weights)


def raw_run(lab: Lab, site: Site, copied: Range, given: Options) -> Run:
    """The records of the first run once more, by the raw producer."""
    asked = Singles(f"burst {WARM_UP}", (0,) * given.messages, given.customers)
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, list(copied), lab.fresh("seen"), look_every_s=LOOK_S) as r,
        raw(lab.bootstrap_servers, copied, given.transaction) as producer,
    ):
        meter.watch("reader", r.pid)
        meter.watch(RAW, producer.pid)
        site.settle()
        meter.restart()
        producer.go()
        _wait_for_all(r, given.messages)
        weights = meter.weights()
        seen = replace(judge(r.finish(), asked.expected()), lateness=None)
    return Run(seen.rate, seen, weights)


def _wait_for_all(reader: Reader, messages: int) -> None:
    progress = Progress("messages seen", messages)
    reader.wait_for(messages, longest_pause_s=LONGEST_PAUSE_S, told=progress.at)


PART = Part(
    "burst",
    __doc__,
    "python -m bench burst --messages 20000 --rounds 3",
    add_options,
    run,
)
