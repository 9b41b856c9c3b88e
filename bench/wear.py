"""Wear: the burst again, where PostgreSQL cannot or does not clean up behind it.

A transaction that somebody left open before the burst keeps every deleted row; and a table that was
never vacuumed has as many dead rows in front as there are living ones. Beside them: neither.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench import preload
from bench.at_once import sent_at_once
from bench.instants import now_ms
from bench.lab import Lab
from bench.machine import described
from bench.outcome import Outcome, Run
from bench.part import Options, Part, sizes
from bench.ratios import rotated
from bench.say import say
from bench.site import Site
from bench.workload import Singles

CLEAN = "clean"
_EARLIER_MS = 3_600_000
_TOUCH = "SELECT count(*) FROM (SELECT FROM pending LIMIT 1) one"

State = Callable[[Site, Options], AbstractContextManager[None]]


@contextmanager
def _clean(_site: Site, _given: Options) -> Iterator[None]:
    yield


@contextmanager
def _open_transaction(site: Site, _given: Options) -> Iterator[None]:
    with site.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(_TOUCH)
        yield
        cursor.execute("ROLLBACK")


@contextmanager
def _never_vacuumed(site: Site, given: Options) -> Iterator[None]:
    dues_ms = (now_ms() - _EARLIER_MS,) * given.messages
    site.run("ALTER TABLE pending SET (autovacuum_enabled = off)")
    preload.dead(site, Singles("dead", dues_ms, given.customers))
    yield
    site.run("ALTER TABLE pending RESET (autovacuum_enabled)")


STATES: dict[str, State] = {
    CLEAN: _clean,
    "open transaction": _open_transaction,
    "never vacuumed": _never_vacuumed,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=200_000, help="requests due at once")
    parser.add_argument("--customers", type=int, default=100_000, help="different customers")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--lead", type=float, default=15.0, help="seconds from stored to due")
    parser.add_argument("--linger", type=float, default=5.0, help="seconds to wait for doubles")


def run(lab: Lab, given: Options) -> Outcome:
    """Every state in every round."""
    outcome = Outcome("wear", sizes(given), described(lab))
    site = lab.site("saec")
    preload.registry(site, given.customers)
    say("a first run, to warm up")
    say(f"  {_run(lab, site, given, CLEAN, 'wear warm up').text()}")
    for number in range(given.rounds):
        for name in rotated(list(STATES), number):
            done = _run(lab, site, given, name, f"wear {name} {number}")
            outcome.add(name, done)
            say(f"round {number + 1}, {name}: {done.text()}")
    outcome.rates()
    for name in STATES.keys() - {CLEAN}:
        outcome.compare(f"{name} / {CLEAN}", name, CLEAN, lambda run: run.rate)
    return outcome


def _run(lab: Lab, site: Site, given: Options, state: str, label: str) -> Run:
    def asked(due_ms: int) -> Singles:
        return Singles(label, (due_ms,) * given.messages, given.customers)

    return sent_at_once(
        lab,
        site,
        given,
        asked,
        workers=1,
        rows=given.messages,
        state=STATES[state](site, given),
    )


PART = Part(
    "wear",
    __doc__ or "",
    "python -m bench wear --messages 20000 --rounds 1",
    add_options,
    run,
)
