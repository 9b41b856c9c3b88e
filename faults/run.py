"""One run: start everything, ask, strike, heal, wait, judge.

Invariant: what was found is printed, and everything needed to look into it is kept.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg2
from confluent_kafka import KafkaException, Producer

from faults import asked as asking
from faults import lateness, registry, unreadable
from faults.control import Control, Step
from faults.findings import Findings
from faults.parts import Parts
from faults.processes import Fleet
from faults.readers import Follower, Watcher, read_all, read_by_console
from faults.restore import RESTORES
from faults.schedule import Faults
from faults.steps import REQUIRED
from faults.verdict import Output, judge
from faults.wire import Record, dispatched
from faults.workload import PARTITIONS, Event, Workload
from saec import installation
from saec.audit import audit
from saec.settings import Settings
from tests.altered import take_compressed

PREFIX = "saec."
CHANNELS = tuple(f"{PREFIX}dispatch.{name}" for name in ("email", "sms", "whatsapp", "push"))
OUTPUTS = (*CHANNELS, f"{PREFIX}status", f"{PREFIX}rejected")
SHARDS = 8
SETTLE_S = 120.0
_LOOK_S = 3.0
_OVERDUE_S = 60
_LATE_MS = 86_400_000  # no run promises when something goes out; the others know what is missing
_EXTRA_S = 120.0  # how much longer a slow machine may take to come by every step
_NOT_EXPECTED = ("an error that SAEC did not expect", "Traceback", "Fatal Python error")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `every_s` is the mean time between faults; `only` names kinds of faults."""

    seed: int
    minutes: float
    every_s: float = 5.0
    per_second: float = 15.0
    mutation: str | None = None
    only: tuple[str, ...] = ()
    steps: tuple[Step, ...] = REQUIRED
    all_steps: bool = False


class Run:
    """One run, in a directory of its own."""

    def __init__(self, plan: Plan, directory: Path, say: Say) -> None:
        self.plan = plan
        self._directory = directory
        self._say = say
        self._began_s = time.monotonic()
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True)
        self._found = Findings()
        self._stopping = threading.Event()
        self._asked_enough = threading.Event()
        self._final: list[Record] = []
        self._noticed_s: float | None = None
        self._judged_s = time.monotonic()

    @property
    def topics(self) -> list[Record]:
        """What came out."""
        return self._final

    def execute(self) -> dict[str, Any]:
        """Run; returns the summary."""
        self._parts = Parts(self._directory / "stack")
        try:
            return self._with_parts()
        finally:
            self._parts.stop()

    def _with_parts(self) -> dict[str, Any]:
        servers = self._parts.bootstrap_servers
        settings = Settings(
            bootstrap_servers=servers,
            database_url=self._parts.database_url,
            topic_prefix=PREFIX,
            shards=SHARDS,
            partitions=PARTITIONS,
        )
        installation.init(settings)
        take_compressed(settings)  # else the broker refuses what the client cannot read
        self._control = Control(self._directory / "control")
        self._fleet = Fleet(
            self._parts, self._control.path, self._logs, mutation=self.plan.mutation
        )
        self._faults = Faults(
            self._parts,
            self._fleet,
            self._control,
            self._parts.sql,
            self.plan.seed,
            only=self.plan.only,
            steps=self.plan.steps,
            stopping=self._stopping,
        )
        self._follower = Follower(servers, CHANNELS)
        self._watcher = Watcher(servers, f"{PREFIX}customers", f"{PREFIX}customers")
        for role, each in (("requests", 2), ("customers", 2), ("dispatch", 3)):
            for number in range(each):
                self._fleet.add(f"{role}-{number}")
        try:
            self._play()
            return self._conclude()
        finally:
            self._fleet.stop()
            self._control.close()

    def _play(self) -> None:
        """Ask and strike for the time planned, or until something is found."""
        seconds = self.plan.minutes * 60
        extra_s = _EXTRA_S if self.plan.all_steps else 0.0
        workload = Workload(self.plan.seed, _now_ms() + 8_000)
        publisher = threading.Thread(
            target=self._publish, args=(workload, seconds + extra_s), daemon=True, name="publisher"
        )
        sentry = threading.Thread(target=self._stand_sentry, daemon=True, name="sentry")
        publisher.start()
        sentry.start()
        self._stopping.wait(10.0)
        self._faults.run(max(0.0, seconds - 10.0), self.plan.every_s, extra_s)
        self._say(f"[{self._at()}] faults are over: healing")
        self._asked_enough.set()
        self._control.disarm_all()
        self._fleet.mend()
        publisher.join()
        self._stopping.set()
        sentry.join()

    def _publish(self, workload: Workload, seconds: float) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self._parts.bootstrap_servers,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 2,
                "log_level": 0,
            }
        )
        for event in workload.registry():
            self._produce(producer, event)
        producer.flush()
        pause = threading.Event()
        for event in workload.events(seconds, self.plan.per_second):
            if self._stopping.is_set() or self._asked_enough.is_set():
                break
            wait_ms = workload.start_ms + event.at_ms - _now_ms()
            if wait_ms > 0:
                pause.wait(wait_ms / 1000)
            self._produce(producer, event)
        left = producer.flush(120)
        if left:
            raise AssertionError(f"{left} records could not be published")

    def _produce(self, producer: Producer, event: Event) -> None:
        topic = f"{PREFIX}customers" if event.customer else f"{PREFIX}requests"
        if event.unreadable:
            # The broker is away, or not known yet; what is there counts.
            with suppress(OSError, KafkaException, StopIteration):
                unreadable.publish(self._parts.bootstrap_servers, topic, event.partition or 0)
            return
        where = -1 if event.partition is None else event.partition
        producer.produce(topic, event.value, event.key.encode(), where)
        producer.poll(0)

    def _stand_sentry(self) -> None:
        """Stop the run early when something is wrong that time would not put right."""
        while not self._stopping.wait(_LOOK_S):
            found = self._at_once()
            if found:
                self._say(f"[{self._at()}] found: {found}")
                self._noticed_s = time.monotonic() - self._began_s
                self._stopping.set()

    def _at_once(self) -> str:
        if self._fleet.ended:
            return self._fleet.ended[0]
        restore = self._faults.restore
        if restore.found:
            return ": ".join(restore.found[0])
        was_calm, halted = restore.calm.is_set(), self._halted()
        # On a database that is being restored they are halted as they should be.
        if halted and was_calm and restore.calm.is_set():
            return f"halted: {halted}"
        if self.plan.mutation and time.monotonic() - self._judged_s > _OVERDUE_S / 4:
            overdue = self._overdue()
            self._judged_s = time.monotonic()
            if overdue:
                return overdue
        keys = [_message_key(record) for record in list(self._follower.records)]
        return "" if len(keys) == len(set(keys)) else "a duplicate"

    def _overdue(self) -> str:
        """What should have come out a minute ago, also with faults: a mutation swallowed it."""
        try:
            output, _ = self._judge(self._faults.restore.since_ms(_OVERDUE_S * 1_000))
        except (KafkaException, TimeoutError):
            return ""  # the broker is away
        return "; ".join(output.findings.first[:3])

    def _conclude(self) -> dict[str, Any]:
        output, asked = self._settle()
        self._fleet.stop()
        output, asked = self._judge()
        found = output.findings
        for ended in self._fleet.ended:
            found.add("processes ended", ended)
        for shard, why in self._halted():
            found.add("shards halted", f"{shard}: {why}")
        for kind, what in self._faults.restore.found:
            found.add(kind, what)
        for line in self._errors_not_expected():
            found.add("errors not expected", line)
        self._compare_readers(found)
        self._audit(found)
        missed = [step for step in REQUIRED if not self._control.struck[step]]
        if self.plan.all_steps:
            found.add("steps not hit", missed, len(missed))
        return self._summary(output, asked, missed)

    def _errors_not_expected(self) -> list[str]:
        """Lines of the logs that only a fault of SAEC's own can write."""
        return [
            f"{log.name}: {line[:300]}"
            for log in sorted(self._logs.glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if any(mark in line for mark in _NOT_EXPECTED)
        ]

    def _settle(self) -> tuple[Output, asking.Asked]:
        """Wait until everything asked has come out, and then a little longer.

        However long that takes on a busy machine, as long as more comes out.
        """
        deadline_s, pause, came = time.monotonic() + SETTLE_S, threading.Event(), 0
        while True:
            output, asked = self._judge()
            if came < (came := output.messages + output.statuses.total()):
                deadline_s = time.monotonic() + SETTLE_S
            if output.findings.ok or time.monotonic() > deadline_s or self._at_once():
                pause.wait(3.0)
                return output, asked
            self._say(f"[{self._at()}] not settled yet: {dict(output.findings.counts)}")
            pause.wait(_LOOK_S)

    def _judge(self, due_before_ms: int | None = None) -> tuple[Output, asking.Asked]:
        servers = self._parts.bootstrap_servers
        # What came out first: what it answers stands in what is read after it.
        self._final = read_all(servers, OUTPUTS)
        topics = [f"{PREFIX}requests", f"{PREFIX}customers"]
        lost = unreadable.find(self._directory / "stack", topics, PARTITIONS)
        sources = read_all(servers, topics, lost)
        asked = asking.understand(r for r in sources if r.lost or r.topic == f"{PREFIX}requests")
        customers = [r for r in sources if r.topic == f"{PREFIX}customers"]
        known = registry.learn(customers, list(self._watcher.seen))
        return judge(asked, known, self._final, PREFIX, due_before_ms), asked

    def _compare_readers(self, found: Findings) -> None:
        servers = self._parts.bootstrap_servers
        final = {r.place: (r.key, r.value) for r in self._final if r.topic in CHANNELS}
        threading.Event().wait(1.0)
        self._follower.stop()
        self._watcher.stop()
        meanwhile = {r.place: (r.key, r.value) for r in self._follower.records}
        if len(self._follower.records) != len(meanwhile):
            found.add("readers disagree", "the concurrent reader saw a place twice")
        differing = {place for place, _ in final.items() ^ meanwhile.items()}
        found.add("readers disagree", sorted(differing)[:5], len(differing))
        for topic in CHANNELS:
            places = {place for place in final if place[0] == topic}
            differing = places ^ read_by_console(servers, topic)
            found.add("readers disagree", ("console", sorted(differing)[:5]), len(differing))

    def _audit(self, found: Findings) -> None:
        """`saec audit` reads the same topics; what it finds is wrong, or it is."""
        settings = Settings(
            bootstrap_servers=self._parts.bootstrap_servers, topic_prefix=PREFIX, shards=SHARDS
        )
        books = self._directory / "audit"
        with audit(settings, late_ms=_LATE_MS, directory=books) as done:
            for one in done.findings():
                found.add("audit disagrees", (one.kind.value, *map(str, one.places), one.detail))

    def _summary(
        self, output: Output, asked: asking.Asked, missed: list[tuple[str, str]]
    ) -> dict[str, Any]:
        kinds: dict[str, int] = {}
        for struck in self._faults.struck:
            kinds[struck.kind] = kinds.get(struck.kind, 0) + 1
        waits = lateness.of_faults(self._follower.records, asked, self._faults.struck)
        (self._directory / "faults.jsonl").write_text(
            "".join(json.dumps(asdict(struck)) + "\n" for struck in self._faults.struck)
        )
        return {
            "seed": self.plan.seed,
            "minutes": self.plan.minutes,
            "every_s": self.plan.every_s,
            "mutation": self.plan.mutation,
            "seconds_total": round(time.monotonic() - self._began_s, 1),
            "noticed_s": round(self._noticed_s or time.monotonic() - self._began_s, 1),
            "ok": output.findings.ok,
            "findings": output.findings.as_json(),
            "first": output.findings.first,
            "asked": {
                "records": len(asked.answers),
                "requests": len(asked.requests),
                "messages": sum(request.size for request in asked.requests.values()),
                "unreadable": sum(record.lost for record in asked.records.values()),
                "late answers": sum(map(len, output.lates.values())),
            },
            "dispatched": output.messages,
            "answers": dict(output.statuses),
            "faults": kinds,
            "restores": [one.what for one in self._faults.struck if one.kind in RESTORES],
            "kills": dict(self._fleet.kills),
            "starts": self._fleet.starts,
            "steps": {"/".join(step): self._control.struck[step] for step in REQUIRED},
            "missed": ["/".join(step) for step in missed],
            "waits_s": waits,
        }

    def _halted(self) -> list[tuple[int, str]]:
        try:
            found = self._parts.sql("SELECT shard, halted FROM shards WHERE halted IS NOT NULL")
        except psycopg2.Error:
            return []  # PostgreSQL is away
        return [(int(shard), str(why)) for shard, why in found]

    def _at(self) -> str:
        return f"{time.monotonic() - self._began_s:.0f} s"


def keep_topics(records: list[Record], directory: Path) -> None:
    """Write what the topics held, a line a record."""
    with (directory / "topics.jsonl").open("w") as out:
        for record in sorted(records, key=lambda one: one.place):
            out.write(json.dumps(asdict(record), default=lambda raw: raw.hex()) + "\n")


def _message_key(record: Record) -> tuple[str, str, str]:
    fields = dispatched(record)
    return fields["request_id"], fields["customer_id"] or "", fields["channel"]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
