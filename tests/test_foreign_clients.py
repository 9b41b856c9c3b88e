"""Clients that this project did not write publish requests, and read what comes of them.

Kafka's own console tools and kcat: JSON lines without headers in, dispatch messages out.
"""

import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from saec.contracts.dispatch import message_id
from saec.contracts.events import Channel
from saec.embedded.kafka import console_tool
from saec.settings import Settings
from saec.store.engine import Engine, open_engine, rows, transaction
from tests.survival.processes import Fleet

if TYPE_CHECKING:
    from tests.stack import Installations

PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
KCAT = shutil.which("kcat")
TIMEOUT_S = 90
CUSTOMERS = 20
REQUESTS = 30


@dataclass
class Running:
    """An installation with one of each process, and what has been asked of it."""

    settings: Settings
    engine: Engine
    customers: int = 0
    requests: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)

    def mark_ends(self) -> None:
        """Write a mark of the test's behind all that is in the channel topics."""
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers})
        for topic in self.settings.topics.dispatch.values():
            for partition in producer.list_topics(topic, TIMEOUT_S).topics[topic].partitions:
                mark = str(uuid4())
                headers = [("ce_type", b"saec.v1.DispatchMessage"), ("ce_id", mark.encode())]
                producer.produce(topic, b"", partition=partition, headers=headers)
                self.ends[mark] += 1
        assert producer.flush(TIMEOUT_S) == 0


@pytest.fixture(scope="module")
def running(
    installations: "Installations", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """The real processes."""
    log = tmp_path_factory.mktemp("foreign") / "processes.log"
    with installations.make() as settings, log.open("wb") as output:
        fleet = Fleet(settings, output, each=1)
        fleet.start()
        engine = open_engine(settings.database_url)
        try:
            yield Running(settings, engine)
            assert fleet.died() == [], log.read_text()
        finally:
            engine.dispose()
            codes = fleet.stop()
        assert codes == [0, 0, 0], log.read_text()


def with_console_producer(settings: Settings, topic: str, lines: Iterable[str]) -> None:
    """Publish `key|value` lines with what Kafka ships."""
    command = console_tool(
        PRODUCER,
        [
            *("--bootstrap-server", settings.bootstrap_servers, "--topic", topic),
            *("--reader-property", "parse.key=true", "--reader-property", "key.separator=|"),
        ],
    )
    _run(command, lines)


def with_kcat(settings: Settings, topic: str, lines: Iterable[str]) -> None:
    """Publish `key|value` lines with kcat."""
    _run(["kcat", "-P", "-b", settings.bootstrap_servers, "-t", topic, "-K", "|"], lines)


def _run(command: list[str], lines: Iterable[str]) -> None:
    done = subprocess.run(
        command,
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def registrations(prefix: str) -> list[str]:
    """Customers with addresses of both kinds, some of whom opted out of SMS."""
    lines = []
    for number in range(CUSTOMERS):
        id_ = f"{prefix}{number}"
        fields = {
            "type": "saec.v1.CustomerRegistered",
            "id": id_,
            "name": "João Conceição",
            "email": f"{id_}@example.com",
            "phone": f"(11) 98765-{1000 + number}",
            "opted_out": ["SMS"] if number % 4 == 0 else [],
        }
        lines.append(f"{id_}|{json.dumps(fields, ensure_ascii=False)}")
    return lines


def requests(prefix: str) -> tuple[list[str], Counter[str]]:
    """Requests that are due within two seconds, and the ids of the messages to come."""
    lines: list[str] = []
    expected: Counter[str] = Counter()
    for number in range(REQUESTS):
        request_id = uuid4()
        channels = [list(Channel)[number % 4], *([Channel.EMAIL] if number % 4 else [])]
        customers = [f"{prefix}{(number + one) % CUSTOMERS}" for one in range(1 + number % 3)]
        fields = {
            "type": "saec.v1.ScheduleRequested",
            "id": str(request_id),
            "requester": "foreign",
            "channels": channels,
            "customers": customers,
            "due_at": int((time.time() + number % 3) * 1000),
            "message": {"body": "Olá! Amanhã às 9h 🎉", "content_type": "text/plain"},
        }
        lines.append(f"{request_id}|{json.dumps(fields, ensure_ascii=False)}")
        for channel in set(channels):
            for who in customers if channel is not Channel.PUSH else [None]:
                if channel is Channel.SMS and who and int(who.removeprefix(prefix)) % 4 == 0:
                    continue
                expected[message_id(request_id.bytes, channel, who)] += 1
    return lines, expected


def with_console_consumer(settings: Settings, count: int) -> Counter[str]:
    """The message ids in the headers of what is in the channel topics, read_committed: `count`.

    Were there more of them, it would not come to the marks at their ends.
    """
    topics = "|".join(name.replace(".", r"\.") for name in settings.topics.dispatch.values())
    command = console_tool(
        CONSUMER,
        [
            *("--bootstrap-server", settings.bootstrap_servers, "--include", topics),
            *("--isolation-level", "read_committed", "--from-beginning"),
            *("--max-messages", str(count), "--timeout-ms", str(60_000)),
            *("--formatter-property", "print.headers=true"),
            *("--formatter-property", "print.value=false"),
        ],
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    found: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        headers = dict(header.split(":", 1) for header in line.split(","))
        assert headers["ce_type"] == "saec.v1.DispatchMessage"
        found[headers["ce_id"]] += 1
    assert found, done.stderr
    return found


def wait_for(engine: Engine, query: str, expected: int) -> None:
    """Until a query that counts says so."""
    deadline_s, tries = time.monotonic() + TIMEOUT_S, threading.Event()
    while True:
        with transaction(engine) as connection:
            ((counted,),) = rows(connection, query)
        if counted == expected:
            return
        assert time.monotonic() < deadline_s, f"{query}: {counted}, not {expected}"
        tries.wait(0.05)


PUBLISHERS = [
    pytest.param(with_console_producer, id="console-producer"),
    pytest.param(
        with_kcat,
        id="kcat",
        marks=pytest.mark.skipif(KCAT is None, reason="there is no kcat on this machine"),
    ),
]


@pytest.mark.parametrize("publish", PUBLISHERS)
def test_what_a_stranger_publishes_another_reads_exactly_once(
    running: Running, publish: Callable[[Settings, str, Iterable[str]], None]
) -> None:
    settings, engine, prefix = running.settings, running.engine, f"{publish.__name__}-"
    publish(settings, settings.topics.customers, registrations(prefix))
    running.customers += CUSTOMERS
    wait_for(engine, "SELECT count(*) FROM customers", running.customers)
    lines, expected = requests(prefix)
    publish(settings, settings.topics.requests, lines)
    running.requests += REQUESTS
    running.messages += expected
    wait_for(engine, "SELECT count(*) FROM requests", running.requests)
    wait_for(engine, "SELECT count(*) FROM pending", 0)
    running.mark_ends()
    expected = running.messages + running.ends
    assert set(expected.values()) == {1}
    assert with_console_consumer(settings, expected.total()) == expected
