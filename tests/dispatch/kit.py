"""What the dispatch tests share: rows to dispatch, and readers of what came out.

Requests go in through ingest's own `take`, so that the rows are what production writes.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition

from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.ledger import LedgerRecord, decode_ledger
from saec.contracts.status import RequestStatus, Status, decode_status
from saec.dispatch.batch import Claim
from saec.ingest.customers import CustomerIntake
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store import pending, shards
from saec.store.engine import Engine, rows, transaction
from saec.store.pending import PendingSlice
from saec.store.shards import shard_of

KNOWN = ("ana", "bia", "caio")


def claimed(engine: Engine, claim: Claim | None) -> list[PendingSlice]:
    """The slices of a claim, in the order in which they go out."""
    with transaction(engine) as connection:
        return pending.read_slices(connection, claim.runs) if claim else []


@dataclass
class Installed:
    """One installation under test."""

    settings: Settings
    engine: Engine
    _offset: int = 0
    asked: list[uuid.UUID] = field(default_factory=list)

    @property
    def shards(self) -> list[int]:
        """Every shard."""
        return list(range(self.settings.shards))

    def now_ms(self) -> int:
        """PostgreSQL's clock."""
        with transaction(self.engine) as connection:
            return shards.now_ms(connection)

    def register(self, *customers: str, **fields: object) -> None:
        """Register customers with an address for every channel."""
        for customer in customers:
            value = {
                "type": "saec.v1.CustomerRegistered",
                "id": customer,
                "email": f"{customer}@example.com",
                "phone": "+5511987654321",
                **fields,
            }
            record = self._incoming("customers", json.dumps(value).encode(), customer.encode())
            CustomerIntake(self.settings, self.engine).take([record], {0: record.offset + 1})

    def ask(
        self,
        due_in_ms: int = -1_000,
        channels: Iterable[str] = ("EMAIL",),
        customers: Iterable[str] = ("ana",),
        shard: int | None = None,
        **fields: object,
    ) -> uuid.UUID:
        """Have a request accepted, by default one that is due; returns its id."""
        request_id = self._new_id(shard)
        value = {
            "type": "saec.v1.ScheduleRequested",
            "id": str(request_id),
            "requester": "tests",
            "channels": list(channels),
            "customers": list(customers),
            "due_at": self.now_ms() + due_in_ms,
            "message": {"body": "Olá", "content_type": "text/plain"},
            **fields,
        }
        answers = self.take(value)
        assert [decode_status(a.value or b"").status for a in answers] == [Status.ACCEPTED]
        self.asked.append(request_id)
        return request_id

    def cancel(self, request_id: uuid.UUID) -> RequestStatus:
        """Cancel a request; returns the answer."""
        value = {"type": "saec.v1.CancelRequested", "id": str(request_id), "requester": "tests"}
        return decode_status(self.take(value)[0].value or b"")

    def take(self, value: object) -> list[Outgoing]:
        """Let ingest take one record of the requests topic."""
        intake = RequestIntake(self.settings, self.engine, self.settings.shards)
        record = self._incoming("requests", json.dumps(value).encode(), None)
        return intake.take([record], {0: record.offset + 1})

    def pending(self) -> int:
        """How many slices are pending."""
        return int(self.sql("SELECT count(*) FROM pending")[0][0])

    def claims(self) -> int:
        """How many claim rows there are."""
        return int(self.sql("SELECT count(*) FROM claims")[0][0])

    def owners(self) -> dict[int, str | None]:
        """Who owns each shard."""
        return dict(tuple(row) for row in self.sql("SELECT shard, owner FROM shards"))

    def batch_nos(self) -> dict[int, int]:
        """The batch each shard has applied."""
        return dict(tuple(row) for row in self.sql("SELECT shard, batch_no FROM shards"))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        with transaction(self.engine) as connection:
            return [tuple(row) for row in rows(connection, statement)]

    def execute(self, statement: str) -> None:
        """Run a statement behind SAEC's back."""
        with transaction(self.engine) as connection:
            connection.exec_driver_sql(statement)

    def dispatched(self) -> list[DispatchMessage]:
        """Every committed message of the channel topics."""
        topics = self.settings.topics.dispatch.values()
        return [decode_dispatch(value) for _, value in self.read(topics)]

    def sent(self) -> Counter[tuple[uuid.UUID, str, str]]:
        """How often each (request, channel, customer) was dispatched."""
        return Counter(
            (m.request_id, m.channel.value, m.customer_id or "") for m in self.dispatched()
        )

    def statuses(self) -> list[RequestStatus]:
        """Every committed status that dispatch gave."""
        return [decode_status(value) for _, value in self.read([self.settings.topics.status])]

    def ledger(self) -> list[LedgerRecord]:
        """Every committed record of the ledger, by shard."""
        found = self.read([self.settings.topics.ledger])
        return [decode_ledger(value) for _, value in sorted(found, key=lambda item: item[0])]

    def read(self, topics: Iterable[str]) -> list[tuple[int, bytes]]:
        """Every committed record: (partition, value)."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.bootstrap_servers,
                "group.id": f"{self.settings.topic_prefix}tests",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        listed = consumer.list_topics(timeout=60).topics
        parts = [TopicPartition(t, p, 0) for t in topics for p in listed[t].partitions]
        consumer.assign(parts)
        found, ended = [], 0
        while ended < len(parts):
            message = consumer.poll(60)
            assert message is not None, "the broker did not answer"
            if message.error():
                ended += 1
            else:
                found.append((message.partition(), message.value()))
        consumer.close()
        return found

    def _incoming(self, topic: str, value: bytes, key: bytes | None) -> Incoming:
        self._offset += 1
        name = f"{self.settings.topic_prefix}{topic}"
        return Incoming(name, 0, self._offset, self.now_ms(), key, value)

    def _new_id(self, shard: int | None) -> uuid.UUID:
        while True:
            request_id = uuid.uuid4()
            if shard is None or shard_of(request_id, self.settings.shards) == shard:
                return request_id
