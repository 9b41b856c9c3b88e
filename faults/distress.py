"""The command: `python -m faults.distress`. All that an outage held back is due at once.

While a worker sends it, transactional requests come due, and must not wait for it. Exits with 1
when one of them waited too long, a process grew too big, a round failed, or the messages are not
exactly those asked for.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from confluent_kafka import Producer

from faults.parts import wait_until
from faults.readers import Follower, read_all
from faults.wire import Record, dispatched
from saec import installation
from saec.embedded import EmbeddedStack
from saec.settings import Settings

PREFIX = "saec."
PER_REQUEST = 10_000
LONGEST_WAIT_S = 1.0
MOST_MB = 200
_WAITING_S = 900.0
_ROOT = Path(__file__).resolve().parents[1]
_ROLES = {
    "requests": "consumers.requests",
    "customers": "consumers.customers",
    "dispatch": "producers.dispatch",
}


class Distress:
    """One run: a backlog by e-mail, and transactional requests by SMS meanwhile."""

    def __init__(
        self, settings: Settings, directory: Path, messages: int, rate: float, longest_s: float
    ) -> None:
        self._settings = settings
        self._log = directory / "processes.log"
        self._requests = max(1, messages // PER_REQUEST)
        self._rate = rate
        self._longest_s = longest_s
        self._processes: dict[str, psutil.Process] = {}
        self._peaks: dict[str, float] = {}
        self._over = threading.Event()
        self._asked: list[str] = []
        self._told_s = 0.0
        self._producer = Producer(
            {"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 5, "log_level": 0}
        )

    def run(self) -> dict[str, Any]:
        """Build the backlog up, send it, and say how it went."""
        with ExitStack() as running:
            for role in ("requests", "customers"):
                running.enter_context(self._process(role))
            threading.Thread(target=self._weigh, daemon=True).start()
            self._register()
            self._ask_all()
            _say(f"{self._backlog():,} messages are due; the worker starts")
            began_s = time.monotonic()
            running.enter_context(self._process("dispatch"))
            follower = Follower(self._settings.bootstrap_servers, [f"{PREFIX}dispatch.sms"])
            asker = threading.Thread(target=self._ask_meanwhile, daemon=True)
            wait_until(lambda: self._backlog() < self._requests * PER_REQUEST)
            asker.start()
            wait_until(self._is_gone, _WAITING_S)
            seconds = time.monotonic() - began_s
            self._over.set()
            asker.join()
            wait_until(lambda: len(follower.records) >= len(self._asked))
            follower.stop()
        return self._judged(seconds, follower.records)

    @contextmanager
    def _process(self, role: str) -> Iterator[None]:
        environment = os.environ | {
            "SAEC_BOOTSTRAP_SERVERS": self._settings.bootstrap_servers,
            "SAEC_DATABASE_URL": self._settings.database_url,
        }
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", _ROLES[role]], cwd=_ROOT, env=environment, stderr=log
            )
        self._processes[role] = psutil.Process(process.pid)
        try:
            yield
        finally:
            del self._processes[role]
            process.terminate()
            process.wait(20)

    def _weigh(self) -> None:
        while not self._over.wait(0.2):
            for role, process in list(self._processes.items()):
                weight = process.memory_info().rss / 1_000_000
                self._peaks[role] = max(weight, self._peaks.get(role, 0))

    def _register(self) -> None:
        for number in range(PER_REQUEST):
            customer = {
                "type": "saec.v1.CustomerRegistered",
                "id": f"c{number}",
                "name": f"Cliente {number}",
                "email": f"c{number}@example.com",
                "phone": f"+5511{900_000_000 + number}",
            }
            self._produce("customers", customer)
        self._producer.flush()
        wait_until(lambda: self._sql("SELECT count(*) FROM customers") == PER_REQUEST)

    def _ask_all(self) -> None:
        everybody = [f"c{number}" for number in range(PER_REQUEST)]
        for _ in range(self._requests):
            self._produce("requests", _request(everybody, "EMAIL"))
        self._producer.flush()
        wait_until(lambda: self._backlog() == self._requests * PER_REQUEST, _WAITING_S)

    def _ask_meanwhile(self) -> None:
        number = 0
        while not self._over.wait(1 / self._rate):
            number += 1
            request = _request([f"c{number % PER_REQUEST}"], "SMS")
            self._asked.append(request["id"])
            self._produce("requests", request)
            self._producer.flush()

    def _is_gone(self) -> bool:
        left = self._backlog()
        if time.monotonic() > self._told_s + 5.0:
            self._told_s = time.monotonic()
            _say(f"{left:,} left")
        return left == 0

    def _judged(self, seconds: float, transactional: list[Record]) -> dict[str, Any]:
        expected = self._requests * PER_REQUEST
        backlog = read_all(self._settings.bootstrap_servers, [f"{PREFIX}dispatch.email"])
        waits = sorted(_wait_s(record) for record in transactional)
        wrong = {
            **_compared("", Counter(r.header("ce_id") for r in backlog), expected),
            **_compared(
                "transactional_",
                Counter(dispatched(r)["request_id"] for r in transactional),
                len(self._asked),
            ),
            "warnings_logged": sum(
                json.loads(line)["level"] in {"warning", "error"}
                for line in self._log.read_text().splitlines()
            ),
            "too_late": sum(wait > self._longest_s for wait in waits),
            "too_big": sum(peak > MOST_MB for peak in self._peaks.values()),
        }
        return {
            "ok": not any(wrong.values()),
            "messages": expected,
            "seconds": round(seconds, 1),
            "messages_per_s": round(expected / seconds),
            "transactional": len(self._asked),
            "wait_s": {
                "median": round(waits[len(waits) // 2], 3),
                "p99": round(waits[int(len(waits) * 0.99)], 3),
                "worst": round(waits[-1], 3),
            },
            "peak_mb": {role: round(peak) for role, peak in sorted(self._peaks.items())},
            **wrong,
        }

    def _backlog(self) -> int:
        return self._sql("SELECT coalesce(sum(messages), 0) FROM pending WHERE lane = 1")

    def _sql(self, statement: str) -> int:
        connection = psycopg2.connect(self._settings.database_url, connect_timeout=5)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                row = cursor.fetchone()
                return int(row[0]) if row else 0
        finally:
            connection.close()

    def _produce(self, topic: str, event: dict[str, Any]) -> None:
        value = json.dumps(event).encode()
        self._producer.produce(f"{PREFIX}{topic}", value, event["id"].encode())
        self._producer.poll(0)


def _request(customers: list[str], channel: str) -> dict[str, Any]:
    return {
        "type": "saec.v1.ScheduleRequested",
        "id": str(uuid.uuid4()),
        "requester": "distress",
        "channels": [channel],
        "customers": customers,
        "due_at": time.time_ns() // 1_000_000,
        "message": {"body": "x" * 200, "content_type": "text/plain"},
    }


def _compared(what: str, seen: "Counter[str]", expected: int) -> dict[str, int]:
    return {f"{what}missing": expected - len(seen), f"{what}duplicate": seen.total() - len(seen)}


def _wait_s(record: Record) -> float:
    return (record.read_ms - int(dispatched(record)["due_at"])) / 1000


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run once, print the result."""
    parser = argparse.ArgumentParser(
        prog="python -m faults.distress",
        description=__doc__,
        epilog="Example: python -m faults.distress --messages 100000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many are due at once")
    parser.add_argument(
        "--longest", type=float, default=LONGEST_WAIT_S, help="seconds one of those may wait"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="transactional requests a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saec-distress-") as name:
        directory = Path(name)
        with EmbeddedStack(directory / "stack") as addresses:
            settings = Settings(
                bootstrap_servers=addresses.bootstrap_servers,
                database_url=addresses.database_url,
            )
            installation.init(settings)
            found = Distress(settings, directory, given.messages, given.rate, given.longest).run()
    _say(json.dumps(found, indent=1))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
