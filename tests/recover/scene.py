"""An installation whose parts work in turn, so that a test decides what happened before what."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import Producer

from faults.backup import Backup
from saec.clock import SystemClock
from saec.contracts.status import RequestStatus, Status
from saec.dispatch.round import Worker
from saec.ingest.cancels import Cancelling
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.kafka import stretches
from saec.kafka.records import Incoming, Outgoing
from saec.recover.behind import refuse_behind
from saec.recover.report import Report
from saec.recover.run import recover
from saec.settings import Settings
from saec.store.engine import Engine, open_engine, transaction
from tests.dispatch.kit import KNOWN, Installed
from tests.dispatch.test_worker import abandon, drive
from tests.outages.grounds import wait_until

# What changes in the course of work.
TABLES = ("requests", "pending", "cancels", "positions", "shards", "claims", "skips", "customers")


class CancelsFirst:
    """Takes the cancels of a batch as a batch before the others: somebody else had read them."""

    def __init__(self, inner: RequestIntake) -> None:
        self._inner = inner

    def decode(self, batch: Sequence[Incoming]) -> Any:
        """As ingest does."""
        return self._inner.decode(batch)

    def store(self, decoded: Any, next_offsets: Mapping[int, int]) -> list[Outgoing]:
        """One after the other."""
        stops = [one for one in decoded if isinstance(one, Cancelling)]
        said = self._inner.store(stops, {})
        rest = [one for one in decoded if one not in stops]
        return said + self._inner.store(rest, next_offsets)

    def confirm(self, next_offsets: Mapping[int, int]) -> None:
        """As ingest does."""
        self._inner.confirm(next_offsets)


@dataclass
class Scene:
    """One installation and its backup."""

    settings: Settings
    backup: Backup
    engine: Engine = field(init=False)
    installed: Installed = field(init=False)

    def __post_init__(self) -> None:
        self.engine = open_engine(self.settings.database_url)
        self.installed = Installed(self.settings, self.engine)

    def publish(
        self, topic: str, value: object, key: str, partition: int | None = None
    ) -> tuple[int, int]:
        """Publish one event; returns where it stands."""
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers, "log_level": 0})
        placed: list[Any] = []
        data = None if value is None else json.dumps(value)
        producer.produce(
            topic,
            data,
            key,
            -1 if partition is None else partition,
            on_delivery=lambda _, message: placed.append(message),
        )
        producer.flush(60)
        return placed[0].partition(), placed[0].offset()

    def register(self, *customers: str, **fields: object) -> None:
        """Register customers, and have them stored."""
        for customer in customers:
            value = {
                "type": "saec.v1.CustomerRegistered",
                "id": customer,
                "email": f"{customer}@example.com",
                **fields,
            }
            self.publish(self.settings.topics.customers, value, customer)
        self.take_customers()

    def ask(
        self,
        due_in_ms: int = -1_000,
        customers: Sequence[str] = ("ana",),
        partition: int | None = None,
        id_: uuid.UUID | None = None,
        **fields: object,
    ) -> uuid.UUID:
        """Publish a request, by default one that is due."""
        request_id = uuid.uuid4() if id_ is None else id_
        value = {
            "type": "saec.v1.ScheduleRequested",
            "id": str(request_id),
            "requester": "tests",
            "channels": ["EMAIL"],
            "customers": list(customers),
            "due_at": self.installed.now_ms() + due_in_ms,
            "message": {"body": "Olá", "content_type": "text/plain"},
            **fields,
        }
        self.publish(self.settings.topics.requests, value, str(request_id), partition)
        return request_id

    def ask_apart(self, due_in_ms: int, **fields: Any) -> uuid.UUID:
        """A request in one partition and its cancel in another one, which is read before it."""
        request_id = self.ask(due_in_ms, partition=0, **fields)
        self.cancel(request_id, partition=1)
        inner, positions = self._request_intake()
        self._take("requests", self.settings.topics.requests, CancelsFirst(inner), positions)
        return request_id

    def ask_before_its_cancel_is_answered(self) -> uuid.UUID:
        """A request whose cancel somebody read and stored before, and did not answer yet."""
        request_id, topic = self.ask(partition=0), self.settings.topics.requests
        value = {"type": "saec.v1.CancelRequested", "id": str(request_id), "requester": "tests"}
        offset, at_ms = stretches.bounds(self.settings, topic)[1].end, self.installed.now_ms() + 99
        taker, _ = self._request_intake()
        stop = Incoming(topic, 1, offset, at_ms, None, json.dumps(value).encode(), None)
        taker.take([stop], {})
        self.take_requests()
        self.cancel(request_id, partition=1)
        return request_id

    def cancel(
        self, request_id: uuid.UUID, requester: str = "tests", partition: int | None = None
    ) -> None:
        """Publish a cancel."""
        value = {"type": "saec.v1.CancelRequested", "id": str(request_id), "requester": requester}
        self.publish(self.settings.topics.requests, value, str(request_id), partition)

    def take_requests(self) -> None:
        """Have every request and cancel stored and answered."""
        taker, positions = self._request_intake()
        self._take("requests", self.settings.topics.requests, taker, positions)

    def take_customers(self) -> None:
        """Have every customer stored."""
        positions = StoredPositions(self.engine, self.settings.topics.customers)
        taker = CustomerIntake(self.settings, self.engine, positions)
        self._take("customers", self.settings.topics.customers, taker, positions)

    def dispatch(self, until: Callable[[], bool] | None = None) -> None:
        """Have everything that is due dispatched, and the worker leave."""
        worker = self.worker()
        drive(worker, until=until or (lambda: self.installed.pending() == 0))
        self.close(worker)

    def worker(self, **settings: Any) -> Worker:
        """A worker."""
        chosen = self.settings.model_copy(update=settings)
        return Worker(chosen, open_engine(chosen.database_url), SystemClock())

    def close(self, worker: Worker, *, killed: bool = False) -> None:
        """Let a worker go, in order or not."""
        if killed:
            abandon(worker)
        worker.close()
        worker._engine.dispose()

    def back_up(self) -> None:
        """Take the backup."""
        self.engine.dispose()
        self.backup.take()

    def restore(self) -> None:
        """Throw the database back."""
        self.engine.dispose()
        self.backup.restore()

    def copy_tables(self) -> None:
        """Remember what the tables hold."""
        for table in TABLES:
            self.installed.execute(f"CREATE TABLE was_{table} AS TABLE {table}")

    def put_tables_back(self) -> None:
        """What a restore into the running server does: no connection breaks."""
        with transaction(self.engine) as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)}")
            for table in TABLES:
                connection.exec_driver_sql(f"INSERT INTO {table} TABLE was_{table}")

    def recover(self, **settings: Any) -> Report:
        """Recover, as soon as the groups are empty."""
        chosen = self.settings.model_copy(update=settings)
        return recover(chosen, print, dry_run=False)

    def sent(self) -> Counter[tuple[uuid.UUID, str]]:
        """How often each customer was reached by each request."""
        return Counter((m.request_id, m.customer_id or "") for m in self.installed.dispatched())

    def answers(self, request_id: uuid.UUID) -> list[Status]:
        """What was answered of a request, in order."""
        return [s.status for s in self.statuses(request_id)]

    def statuses(self, request_id: uuid.UUID) -> list[RequestStatus]:
        """Every status of a request."""
        return [s for s in self.installed.statuses() if s.request_id == str(request_id)]

    def _request_intake(self) -> tuple[RequestIntake, StoredPositions]:
        check = partial(refuse_behind, self.settings, self.engine)
        positions = StoredPositions(self.engine, self.settings.topics.requests, check)
        taker = RequestIntake(self.settings, self.engine, self.settings.shards, positions)
        return taker, positions

    def _take(self, role: str, topic: str, taker: Any, positions: StoredPositions) -> None:
        intake = opener(self.settings, self.engine, role, topic, positions)
        loop = IngestLoop(intake, taker, SystemClock(), role)
        try:
            wait_until(lambda: loop.run_once() == 0 and self._is_read(role, topic))
        finally:
            loop.close()

    def _is_read(self, role: str, topic: str) -> bool:
        committed = stretches.committed_offsets(self.settings, role, topic)
        ends = stretches.bounds(self.settings, topic)
        return all(committed.get(p, -1) == kept.end for p, kept in ends.items())


__all__ = ["KNOWN", "Scene"]
