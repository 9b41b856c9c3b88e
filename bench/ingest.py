"""Ingest: many requests waiting in the topic, until all of them are answered.

One consumer, two consumers, and beside them COPY: the same rows into the same empty tables by one
connection, in one transaction. Each side goes first in turn.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench import events
from bench.instants import now_ms, pause
from bench.lab import Lab
from bench.machine import described
from bench.meter import Meter
from bench.outcome import Outcome, Run
from bench.part import Options, Part, numbers, sizes
from bench.processes import running
from bench.ratios import rotated
from bench.reader import reading
from bench.say import Progress, say
from bench.seen import judge
from bench.site import Site
from bench.workload import Singles

COPY = "COPY"
_LOOK_S = 0.01
_LONGEST_PAUSE_S = 60.0
_AHEAD_MS = 30 * 86_400_000
_TABLES = ("requests", "pending")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--requests", type=int, default=500_000, help="waiting in the topic")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--consumers", type=numbers, default=(1, 2), help="as 1,2")
    parser.add_argument("--encoding", choices=(events.AVRO, events.JSON), default=events.AVRO)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


def side(consumers: int) -> str:
    """The name of SAEC's side with so many consumers."""
    return f"{consumers} consumer{'s' if consumers > 1 else ''}"


def run(lab: Lab, given: Options) -> Outcome:
    """Every side in every round."""
    outcome = Outcome("ingest", sizes(given), described(lab))
    site = lab.site("saec")
    say("a first run, to warm up and for the rows of COPY")
    say(f"  {saec_run(lab, site, given, 1, 'warm up').text()}")
    rows = Rows.taken(site, lab.fresh("rows"))
    sides = {side(count): count for count in given.consumers}
    for number in range(given.rounds):
        for name in rotated([*sides, COPY], number):
            if name == COPY:
                done = copy_run(site, rows, given)
            else:
                done = saec_run(lab, site, given, sides[name], f"{name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    outcome.rates()
    for name in sides:
        outcome.compare(f"{name} / {COPY}", name, COPY, lambda run: run.rate)
    return outcome


def saec_run(lab: Lab, site: Site, given: Options, consumers: int, label: str) -> Run:
    """Publish, start the consumers, and see the answers come."""
    site.empty()
    dues_ms = (now_ms() + _AHEAD_MS,) * given.requests
    asked = Singles(f"ingest {label} {time.time_ns()}", dues_ms, given.customers)
    events.publish(site, asked, given.encoding)
    site.settle()
    progress = Progress("answers seen", given.requests)
    with (
        Meter(lab.pids) as meter,
        reading(
            lab.bootstrap_servers,
            [site.settings.topics.status],
            lab.fresh("seen"),
            look_every_s=_LOOK_S,
            by_key=True,
        ) as reader,
        running(site, lab.processes_log, meter, requests=consumers),
    ):
        meter.watch("reader", reader.pid)
        reader.wait_for(1, longest_pause_s=_LONGEST_PAUSE_S)
        meter.restart()
        reader.wait_for(given.requests, longest_pause_s=_LONGEST_PAUSE_S, told=progress.at)
        weights = meter.weights()
        pause(given.linger)
        answers = {str(id_).encode(): 0 for id_ in asked.request_ids()}
        seen = replace(judge(reader.finish(), answers), lateness=None)
    stored = {table: site.count(f"SELECT count(*) FROM {table}") for table in _TABLES}
    if set(stored.values()) != {given.requests}:
        raise RuntimeError(f"{given.requests} requests, but rows: {stored}")
    return Run(seen.rate, seen, weights)


@dataclass(frozen=True)
class Rows:
    """What ingest left in its tables, as COPY's own text, a file a table."""

    directory: Path

    @classmethod
    def taken(cls, site: Site, directory: Path) -> "Rows":
        """From the tables as they are."""
        directory.mkdir(parents=True)
        with site.connect() as connection, connection.cursor() as cursor:
            for table in _TABLES:
                with (directory / table).open("wb") as file:
                    cursor.copy_expert(f"COPY {table} TO STDOUT", file)
        return cls(directory)


def copy_run(site: Site, rows: Rows, given: Options) -> Run:
    """The rows of the first run once more, by COPY."""
    site.empty()
    site.settle()
    with site.connect() as connection, connection.cursor() as cursor:
        began_s = time.monotonic()
        cursor.execute("BEGIN")
        for table in _TABLES:
            with (rows.directory / table).open("rb") as file:
                cursor.copy_expert(f"COPY {table} FROM STDIN", file, size=262_144)
        cursor.execute("COMMIT")
        seconds = time.monotonic() - began_s
    return Run(round(given.requests / seconds), extra={"seconds": round(seconds, 3)})


PART = Part(
    "ingest",
    __doc__ or "",
    "python -m bench ingest --requests 50000 --rounds 3",
    add_options,
    run,
)
