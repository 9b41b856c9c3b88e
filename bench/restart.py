"""Restart: a named worker is killed (SIGKILL) and started again, with much and nothing pending.

Messages come due all the time; what counts is from the start of the new process to the first
message that a reader has of it. Also here: the memory of a worker with so much pending.
"""

import argparse
import time

from bench import backlog, preload
from bench.at_once import topics
from bench.instants import check_ahead, now_ms, pause, wait_until_ms
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, numbers, sizes
from bench.processes import Member
from bench.ratios import rotated
from bench.reader import reading
from bench.say import say
from bench.seen import Readings, judge
from bench.site import Site
from bench.workload import Singles

WORKER = "dispatch 1"
_RATE = 200
_BEFORE_S, _DEAD_S, _AFTER_S = 2.0, 1.0, 10.0
_LONGEST_PAUSE_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--pending", type=numbers, default=(0, 1_000_000, 10_000_000))
    parser.add_argument("--rounds", type=int, default=7, help="how often each is killed")
    parser.add_argument("--lead", type=float, default=4.0, help="seconds to store what comes due")
    parser.add_argument("--linger", type=float, default=3.0, help="seconds to wait for doubles")


def run(lab: Lab, given: Options) -> Outcome:
    """One kill of each in every round."""
    outcome = Outcome("restart", sizes(given), described(lab))
    sites = {backlog.named(count): backlog.loaded(lab, count) for count in given.pending}
    for number in range(given.rounds):
        for name in rotated(list(sites), number):
            done = killed(lab, sites[name], given, f"{name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    for name in sites:
        for what in ("first_dispatch_s", "peak_mb"):
            outcome.figure(f"{name}, {what}", name, extra(what))
    least, most = backlog.named(min(given.pending)), backlog.named(max(given.pending))
    if least != most:
        outcome.compare(f"first dispatch, {most} / {least}", most, least, extra("first_dispatch_s"))
    return outcome


def killed(lab: Lab, site: Site, given: Options, label: str) -> Run:
    """Kill a worker that is at work, start it again, see when it goes on."""
    with (
        Meter(lab.pids) as meter,
        reading(lab.bootstrap_servers, topics(site), lab.fresh("seen")) as reader,
    ):
        asked = _ask(site, given, label)
        first = _start(lab, site, meter)
        try:
            wait_until_ms(asked.dues_ms[0])
            reader.wait_for(1, longest_pause_s=_LONGEST_PAUSE_S)
            pause(_BEFORE_S)
        finally:
            first.kill()
        pause(_DEAD_S)
        before, started_us = reader.count(), time.time_ns() // 1000
        second = _start(lab, site, meter)
        try:
            reader.wait_for(len(asked), longest_pause_s=_LONGEST_PAUSE_S)
            weights = meter.weights()
            pause(given.linger)
        finally:
            second.stop()
        readings = reader.finish()
    seen = judge(readings, asked.expected())
    first_us = first_after(readings, before)
    measured = {
        "first_dispatch_s": round((first_us - started_us) / 1e6, 3),
        "peak_mb": weights[WORKER].peak_mb,
    }
    return Run(0, seen, weights, measured)


def first_after(readings: Readings, count: int) -> int:
    """When the first record behind so many was read, in µs.

    Raises:
        ValueError: there was none.
    """
    seen = 0
    for more, at_us in zip(readings.counts, readings.at_us, strict=True):
        seen += more
        if seen > count:
            return at_us
    raise ValueError("nothing was dispatched after the restart")


def _ask(site: Site, given: Options, label: str) -> Singles:
    first_ms = now_ms() + round(given.lead * 1000)
    count = round(_RATE * (_BEFORE_S + _DEAD_S + _AFTER_S))
    dues_ms = tuple(first_ms + number * 1000 // _RATE for number in range(count))
    asked = Singles(f"restart {label} {first_ms}", dues_ms, backlog.CUSTOMERS)
    preload.singles(site, asked)
    check_ahead(first_ms)
    return asked


def _start(lab: Lab, site: Site, meter: Meter) -> Member:
    member = Member(site, "dispatch", lab.processes_log, instance="bench")
    meter.watch(WORKER, member.pid)
    return member


PART = Part(
    "restart",
    __doc__ or "",
    "python -m bench restart --pending 0,100000 --rounds 2",
    add_options,
    run,
)
