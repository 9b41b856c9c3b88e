"""Wear: claiming where PostgreSQL cannot or does not clean up behind dispatch.

In front of a burst lie as many dead rows as a minute of dispatch leaves: in one state somebody has
left a transaction open since before them, so that nothing may forget them; in the other the table
was never vacuumed. Beside them: neither. The first claim is timed by itself; it must not take
longer than a stated factor (`bench/targets.py`).
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench import preload
from bench.at_once import sent_at_once
from bench.instants import now_ms
from bench.lab import Lab
from bench.machine import described
from bench.outcome import Outcome, Run, extra
from bench.part import Options, Part, sizes
from bench.ratios import rotated
from bench.say import say
from bench.site import Site
from bench.targets import TARGETS
from bench.workload import Singles
from saec.contracts.events import Lane
from saec.store import pending
from saec.store.engine import open_engine, transaction

CLEAN = "clean"
CLAIM_MS = "claim_ms"
_EARLIER_MS = 3_600_000
_ROOMY = 1 << 40
_TOUCH = "SELECT count(*) FROM (SELECT FROM pending LIMIT 1) one"

State = Callable[[Site, Options], AbstractContextManager[None]]


@contextmanager
def _clean(_site: Site, _given: Options) -> Iterator[None]:
    yield


@contextmanager
def _open_transaction(site: Site, given: Options) -> Iterator[None]:
    with site.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(_TOUCH)
        _leave_dead(site, given)
        yield
        cursor.execute("ROLLBACK")


@contextmanager
def _never_vacuumed(site: Site, given: Options) -> Iterator[None]:
    site.run("ALTER TABLE pending SET (autovacuum_enabled = off)")
    _leave_dead(site, given)
    yield
    site.run("ALTER TABLE pending RESET (autovacuum_enabled)")


def _leave_dead(site: Site, given: Options) -> None:
    dues_ms = (now_ms() - _EARLIER_MS,) * given.dead
    preload.dead(site, Singles("dead", dues_ms, given.customers))


STATES: dict[str, State] = {
    CLEAN: _clean,
    "open transaction": _open_transaction,
    "never vacuumed": _never_vacuumed,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--messages", type=int, default=200_000, help="requests due at once")
    parser.add_argument(
        "--dead", type=int, default=60_000, help="dead rows before them: 1,000 a second for 60 s"
    )
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
    for name in STATES:
        outcome.figure(f"{name}, {CLAIM_MS}", name, extra(CLAIM_MS))
    for name in STATES.keys() - {CLEAN}:
        outcome.compare(f"{name} / {CLEAN}", name, CLEAN, lambda run: run.rate)
        outcome.compare(f"claim, {name} / {CLEAN}", name, CLEAN, extra(CLAIM_MS))
    outcome.hold(TARGETS)
    return outcome


def _run(lab: Lab, site: Site, given: Options, name: str, label: str) -> Run:
    claims_ms: list[float] = []

    def asked(due_ms: int) -> Singles:
        return Singles(label, (due_ms,) * given.messages, given.customers)

    @contextmanager
    def state() -> Iterator[None]:
        with STATES[name](site, given):
            claims_ms.append(_claim_ms(site))
            yield

    done = sent_at_once(
        lab, site, given, asked, workers=1, rows=given.messages + given.dead, state=state()
    )
    done.extra[CLAIM_MS] = claims_ms[0]
    return done


def _claim_ms(site: Site) -> float:
    """How long it takes to choose a batch of what is stored, as if it were due."""
    room = pending.Room(site.settings.dispatch_batch_messages, _ROOMY, at_least=1)
    engine = open_engine(site.settings.database_url)
    with transaction(engine) as connection:
        began_s = time.monotonic()
        found = pending.choose(
            connection,
            range(site.settings.shards),
            Lane.TRANSACTIONAL.rank,
            now_ms=now_ms() + _EARLIER_MS,
            room=room,
        )
        claim_ms = (time.monotonic() - began_s) * 1000
    engine.dispose()
    if not found:
        raise RuntimeError("nothing is stored to choose from")
    return round(claim_ms, 1)


PART = Part(
    "wear",
    __doc__ or "",
    "python -m bench wear --messages 20000 --rounds 1",
    add_options,
    run,
)
