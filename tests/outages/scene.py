"""Processes at work while their parts go away: what is asked, what comes out, what the logs say."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from saec.errors import SaecError
from saec.settings import Settings
from saec.store.engine import open_engine, transaction
from tests.outages.grounds import Grounds, wait_until
from tests.survival.processes import Fleet
from tests.survival.run import read_verdict, register
from tests.survival.verdict import Verdict
from tests.survival.workload import Customer, Request, make, make_customers

ROLES = ("requests", "customers", "dispatch")
AHEAD_MS = 1_500  # how long before it is due a request is published
SETTLE_S = 60.0

Line = dict[str, Any]


@dataclass
class Scene:
    """One process of each kind on one installation, and all that was asked of them."""

    grounds: Grounds
    settings: Settings
    fleet: Fleet
    log: Path
    asked: list[Request] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    customers: list[Customer] = field(default_factory=list)

    @property
    def database(self) -> str:
        """The name of the installation's database."""
        return self.settings.database_url.rpartition("/")[2]

    def start(self) -> None:
        """Start the processes."""
        self.fleet.start()

    def register(self) -> None:
        """Register customers, and wait until they are known."""
        self.customers = make_customers(self.chance, count=50)
        register(self.settings, self.customers)

    @contextmanager
    def asking(self, requests: int, seconds: float) -> Iterator[None]:
        """Publish requests, and their cancels, over `seconds`, while the test does something."""
        due_ms = int(time.time() * 1000) + AHEAD_MS
        workload = make(self.chance, self.customers, requests, due_ms, seconds)
        self.asked += workload
        publisher = threading.Thread(target=self._publish, args=(workload,))
        publisher.start()
        try:
            yield
        finally:
            publisher.join()

    def settle(self) -> Verdict:
        """Wait until everything came out as it must, and say how it stands."""
        found: list[Verdict] = []

        def is_settled() -> bool:
            found.append(read_verdict(self.settings, self.asked))
            return found[-1].ok

        try:
            wait_until(is_settled, SETTLE_S)
        except AssertionError:
            raise AssertionError(f"{found[-1]}\n{self.log.read_text()[-20_000:]}") from None
        assert self.fleet.died() == [], self.log.read_text()[-20_000:]
        return found[-1]

    def sql(self, statement: str) -> None:
        """Run statements in the database of the installation, behind SAEC's back."""
        engine = open_engine(self.settings.database_url)
        with transaction(engine) as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def pending(self) -> int:
        """How many slices wait to be dispatched."""
        engine = open_engine(self.settings.database_url)
        with transaction(engine) as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM pending").scalar_one()
        engine.dispose()
        return int(counted)

    def database_says(self, text: str) -> bool:
        """Whether somebody who wants to write now is told so."""
        try:
            self.sql("UPDATE shards SET halted = NULL")
        except SaecError as error:
            return text in str(error)
        return False

    def mark(self) -> int:
        """Where the logs end, once every outage so far is over."""
        wait_until(lambda: _begun(self.lines()) == _over(self.lines()))
        return len(self.lines())

    def lines(self, since: int = 0) -> list[Line]:
        """The finished lines of all processes; each is one JSON object."""
        whole = self.log.read_text().rpartition("\n")[0].splitlines()[since:]
        assert not (foreign := [line for line in whole if not line.startswith("{")]), foreign
        return [json.loads(line) for line in whole]

    def wait_for(self, event: str, role: str, since: int) -> Line:
        """Wait for a line of a process; returns it."""
        found: list[Line] = []

        def is_there() -> bool:
            found.extend(
                line for line in self.lines(since) if (line["event"], line["role"]) == (event, role)
            )
            return bool(found)

        wait_until(is_there)
        return found[0]

    def told(self, since: int, most: int = 1) -> Counter[tuple[str, str]]:
        """What each process told of, when it began and when it was over, `most` times at most."""
        wait_until(lambda: _begun(self.lines(since)) == _over(self.lines(since)))
        begun = _begun(self.lines(since))
        assert max(begun.values(), default=0) <= most, self.lines(since)
        return begun

    def _publish(self, workload: list[Request]) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.settings.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
            }
        )
        events = [(one.due_at_ms - AHEAD_MS, one.value(), one.id) for one in workload]
        events += [
            (one.cancel_at_ms, one.cancel(), one.id)
            for one in workload
            if one.cancel_at_ms is not None
        ]
        clock = threading.Event()
        for at_ms, value, key in sorted(events):
            clock.wait(max(0.0, at_ms / 1000 - time.time()))
            producer.produce(self.settings.topics.requests, value, key)
            producer.poll(0)
        assert producer.flush(SETTLE_S) == 0


def _begun(lines: list[Line]) -> Counter[tuple[str, str]]:
    # Those that say that it still lasts are no beginning.
    began = [line for line in lines if line.get("failures") == 1 and "lasts_s" in line]
    return Counter((line["role"], line["event"]) for line in began)


def _over(lines: list[Line]) -> Counter[tuple[str, str]]:
    ended = [line for line in lines if line["event"] == "working again"]
    return Counter((line["role"], line["after"]) for line in ended)
