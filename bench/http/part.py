"""HTTP: POST of one request, beside a bare endpoint; JSON lines, beside a producer; Kafka away.

SAEC's endpoint, with a key whose rate does not bind, and a FastAPI endpoint that does nothing but
produce what it is given to as many partitions, take turns. wrk loads either with one thread; nobody
reads what is published. Then Kafka is killed while requests come in at a steady rate.
"""

import argparse
from dataclasses import replace

from bench.http import away, bulk, posts, wrk
from bench.http.endpoints import BARE, SAEC, Endpoints, Running
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, numbers, sizes
from bench.ratios import rotated
from bench.say import say

AWAY = "Kafka away"
_BULK, _PLAIN = f"{SAEC}, JSON lines", "plain producer, JSON lines"
_WARM_UP_CONNECTIONS = 64


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--connections", type=numbers, default=(64, 1, 256), help="as 64,1")
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--warm-up", type=int, default=2, help="seconds, of each process")
    parser.add_argument("--lines", type=int, default=100_000, help="of the bulk calls; 0: none")
    parser.add_argument("--per-call", type=int, default=10_000, help="lines a call, 10,000 at most")
    parser.add_argument("--plain-runs", type=int, default=3, help="of the producer in a round")
    parser.add_argument("--away", type=float, default=20.0, help="seconds without Kafka; 0: never")
    parser.add_argument("--before", type=float, default=5.0, help="seconds until Kafka is killed")
    parser.add_argument("--after", type=float, default=10.0, help="seconds when it is back")
    parser.add_argument("--rate", type=float, default=200, help="requests a second meanwhile")
    parser.add_argument("--away-connections", type=int, default=64, help="that make them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")


def run(lab: Lab, given: Options) -> Outcome:
    """Every side in every round; the outages last, since Kafka is cold after each."""
    outcome = Outcome("http", sizes(given), described(lab))
    endpoints = Endpoints(lab)
    for number in range(given.rounds):
        for name in rotated([SAEC, BARE], number):
            with endpoints.running(name) as endpoint:
                _posts(lab, endpoint, given, outcome)
    for number in range(given.rounds if given.lines else 0):
        for name in rotated([_BULK, _PLAIN], number):
            done = _bulk(lab, endpoints, given) if name == _BULK else _plain(lab, given)
            _note(outcome, name, done)
    for _ in range(given.rounds if given.away else 0):
        _note(outcome, AWAY, _away(lab, endpoints, given))
    _conclude(outcome, given)
    return outcome


def _posts(lab: Lab, endpoint: Running, given: Options, outcome: Outcome) -> None:
    """With every number of connections, by one process."""
    with Meter({**lab.pids, endpoint.process: endpoint.pid}) as meter:
        wrk.loaded(endpoint, _WARM_UP_CONNECTIONS, given.warm_up, meter)
        for connections in given.connections:
            done = posts.post_run(endpoint, connections, given.seconds, meter)
            _note(outcome, _side(endpoint.name, connections), done)


def _bulk(lab: Lab, endpoints: Endpoints, given: Options) -> Run:
    with (
        endpoints.running(SAEC) as endpoint,
        Meter({**lab.pids, endpoint.process: endpoint.pid}) as meter,
    ):
        bulk.called(endpoint, given.per_call, given.per_call, meter)  # to warm up
        return bulk.called(endpoint, given.lines, given.per_call, meter)


def _plain(lab: Lab, given: Options) -> Run:
    """The middle one of its runs, with the rates of all: they are short."""
    with Meter(lab.pids) as meter:
        runs = [
            bulk.produced(lab.site("bare"), given.lines, meter) for _ in range(given.plain_runs)
        ]
    runs.sort(key=lambda run: run.rate)
    return replace(runs[len(runs) // 2], extra={"rates": [run.rate for run in runs]})


def _away(lab: Lab, endpoints: Endpoints, given: Options) -> Run:
    with endpoints.running(SAEC) as endpoint:
        with Meter(lab.pids) as meter:
            wrk.loaded(endpoint, given.away_connections, given.warm_up, meter)
        return away.away_run(lab, endpoint, given)


def _note(outcome: Outcome, side: str, done: Run) -> None:
    outcome.add(side, done)
    say(f"{side}: {done.text()}")


def _conclude(outcome: Outcome, given: Options) -> None:
    for connections in given.connections:
        _compare_posts(outcome, connections)
    if given.lines:
        _compare(outcome, f"{SAEC} / {_PLAIN}", _BULK, _PLAIN)
    if given.away:
        _conclude_away(outcome)


def _compare_posts(outcome: Outcome, connections: int) -> None:
    ours, theirs = (_side(name, connections) for name in (SAEC, BARE))
    _compare(outcome, f"{SAEC} / {theirs}", ours, theirs)
    outcome.compare(f"cpu a request, {BARE} / {ours}", theirs, ours, extra("cpu_us"))
    for side in (ours, theirs):
        for what in posts.FIGURES:
            outcome.figure(f"{side}, {what}", side, extra(what))


def _compare(outcome: Outcome, ratio: str, over: str, under: str) -> None:
    for side in (over, under):
        outcome.figure(f"{side}, per second", side, lambda run: run.rate)
    outcome.compare(ratio, over, under, lambda run: run.rate)


def _conclude_away(outcome: Outcome) -> None:
    runs = outcome.sides[AWAY]
    outcome.missed += [line for run in runs for line in away.wrong(run.extra)]
    for what in away.FIGURES:
        if all(run.extra[what] is not None for run in runs):
            outcome.figure(f"{AWAY}, {what}", AWAY, extra(what))


def _side(name: str, connections: int) -> str:
    return f"{name}, {connections} connection{'s' if connections > 1 else ''}"


PART = Part(
    "http",
    __doc__ or "",
    "python -m bench http --seconds 2 --lines 20000 --rounds 1",
    add_options,
    run,
)
