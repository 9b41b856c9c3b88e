"""A survival run: processes are killed every few seconds while requests come due.

Run the large one with `make survival`; tests/survival/test_survival.py runs a small one.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from saec import installation
from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.status import RequestStatus, decode_status
from saec.embedded import EmbeddedStack
from saec.settings import Settings
from saec.store.customers import read_contacts
from saec.store.engine import open_engine, transaction
from tests.survival.processes import Fleet
from tests.survival.verdict import Verdict, judge
from tests.survival.workload import Customer, Request, make, make_customers

LEAD_S = 6.0
SETTLE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    seed: int
    requests: int
    seconds: float
    kill_every_s: float


def survive(settings: Settings, plan: Plan, log: Path, say: Callable[[str], None]) -> Verdict:
    """Do one run on an initialised installation."""
    chance = random.Random(plan.seed)
    customers = make_customers(chance)
    with log.open("wb") as output:
        fleet = Fleet(settings, output)
        fleet.start()
        try:
            register(settings, customers)
            first_due_ms = int((time.time() + LEAD_S) * 1000)
            workload = make(chance, customers, plan.requests, first_due_ms, plan.seconds)
            publisher = threading.Thread(target=publish, args=(settings, workload))
            publisher.start()
            _kill_for(fleet, chance, plan, say)
            publisher.join()
            verdict = _settled(settings, workload, say)
            died = fleet.died()
        finally:
            codes = fleet.stop()
    say(f"kills: {fleet.kills}; exit codes on SIGTERM: {codes}")
    if died or any(codes):
        verdict.find("unexpected", f"processes that ended by themselves: {died}, {codes}")
    return verdict


def register(settings: Settings, customers: list[Customer]) -> None:
    """Publish the registry, and wait until it is stored: who is unknown is skipped."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for customer in customers:
        producer.produce(settings.topics.customers, customer.value(), customer.id)
    producer.flush()
    engine = open_engine(settings.database_url)
    clock, deadline_s = threading.Event(), time.monotonic() + SETTLE_S
    while time.monotonic() < deadline_s:
        with transaction(engine) as connection:
            if len(read_contacts(connection, [c.id for c in customers])) == len(customers):
                engine.dispose()
                return
        clock.wait(0.2)
    raise AssertionError("the registry did not arrive")


def publish(settings: Settings, workload: list[Request]) -> None:
    """Publish everything, the requests at once, each cancel at its instant."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 5})
    for request in workload:
        producer.produce(settings.topics.requests, request.value(), request.id)
        producer.poll(0)
    producer.flush()
    stops = [request for request in workload if request.cancel_at_ms is not None]
    clock = threading.Event()
    for request in sorted(stops, key=_cancel_at_ms):
        clock.wait(max(0.0, _cancel_at_ms(request) / 1000 - time.time()))
        producer.produce(settings.topics.requests, request.cancel(), request.id)
        producer.poll(0)
    producer.flush()


def read_all(settings: Settings, topics: list[str]) -> list[tuple[str, bytes, int]]:
    """Every committed record: (topic, value, timestamp in ms)."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": f"{settings.topic_prefix}survival",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    listed = consumer.list_topics(timeout=60).topics
    partitions = [
        TopicPartition(topic, partition, 0)
        for topic in topics
        for partition in listed[topic].partitions
    ]
    consumer.assign(partitions)
    found, ended = [], 0
    while ended < len(partitions):
        for message in consumer.consume(1000, 0.5):
            if message.error():
                ended += 1
            else:
                found.append((message.topic(), message.value(), message.timestamp()[1]))
    consumer.close()
    return found


def _kill_for(fleet: Fleet, chance: random.Random, plan: Plan, say: Callable[[str], None]) -> None:
    clock = threading.Event()
    end_s = time.monotonic() + LEAD_S + plan.seconds
    while time.monotonic() < end_s:
        clock.wait(plan.kill_every_s * chance.uniform(0.5, 1.5))
        say(f"killed {fleet.kill_one(chance)}")


def _settled(settings: Settings, workload: list[Request], say: Callable[[str], None]) -> Verdict:
    """The verdict, as soon as it is good, or once nothing more can be expected to come."""
    deadline_s = time.monotonic() + SETTLE_S
    clock = threading.Event()
    while True:
        verdict = read_verdict(settings, workload)
        if verdict.ok or time.monotonic() > deadline_s:
            # Once more, a while later: a late double must not be missed.
            clock.wait(2.0)
            return read_verdict(settings, workload)
        say(f"not settled yet: {verdict.missing} missing, {verdict.unanswered} unanswered")
        clock.wait(2.0)


def read_verdict(settings: Settings, workload: list[Request]) -> Verdict:
    """Read what came out so far, and judge it."""
    messages: list[tuple[DispatchMessage, int]] = []
    statuses: list[RequestStatus] = []
    topics = [*settings.topics.dispatch.values(), settings.topics.status]
    for topic, value, timestamp_ms in read_all(settings, topics):
        if topic == settings.topics.status:
            status = decode_status(value)
            if status.request_id is not None:
                statuses.append(status)
        else:
            messages.append((decode_dispatch(value), timestamp_ms))
    return judge(workload, messages, statuses)


def _cancel_at_ms(request: Request) -> int:
    return request.cancel_at_ms or 0


def main() -> int:
    """The command: starts the embedded stack, runs, prints the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill-every", type=float, default=3.0)
    given = parser.parse_args()
    plan = Plan(given.seed, given.requests, given.seconds, given.kill_every)
    log = Path(tempfile.gettempdir()) / f"saec-survival-{plan.seed}.log"
    with (
        tempfile.TemporaryDirectory(prefix="saec-survival-") as folder,
        EmbeddedStack(Path(folder) / "stack") as addresses,
    ):
        settings = Settings(
            bootstrap_servers=addresses.bootstrap_servers, database_url=addresses.database_url
        )
        installation.init(settings)
        verdict = survive(settings, plan, log, say=print)
    print(f"{plan}\n{verdict}\nlogs: {log}")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
