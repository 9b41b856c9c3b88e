"""Idle: what each process takes while nothing is due, with much and nothing pending."""

import argparse

from bench import backlog
from bench.instants import pause
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run, cpu_percent, peak_mb
from bench.part import Options, Part, numbers, sizes
from bench.processes import ROLES, running
from bench.ratios import rotated
from bench.say import say
from bench.site import Site


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--pending", type=numbers, default=(0, 1_000_000, 10_000_000))
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long they are watched")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds after their start")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is watched")


def run(lab: Lab, given: Options) -> Outcome:
    """Each in every round."""
    outcome = Outcome("idle", sizes(given), described(lab))
    sites = {backlog.named(count): backlog.loaded(lab, count) for count in given.pending}
    for number in range(given.rounds):
        for name in rotated(list(sites), number):
            done = watched(lab, sites[name], given)
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    for name in sites:
        for process in (f"{role} 1" for role in ROLES):
            outcome.figure(f"{name}, {process}, % of a core", name, cpu_percent(process))
            outcome.figure(f"{name}, {process}, MB", name, peak_mb(process))
    return outcome


def watched(lab: Lab, site: Site, given: Options) -> Run:
    """All three processes, doing nothing."""
    with Meter(lab.pids) as meter:
        everyone = dict.fromkeys(ROLES, 1)
        with running(site, lab.processes_log, meter, **everyone) as fleet:
            fleet.wait_until_owned(1)
            pause(given.settle)
            meter.restart()
            pause(given.seconds)
            return Run(0, weights=meter.weights())


PART = Part(
    "idle",
    __doc__ or "",
    "python -m bench idle --pending 0,100000 --seconds 5 --rounds 1",
    add_options,
    run,
)
