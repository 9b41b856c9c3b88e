"""What the ingest tests share: records as the broker would hand them out, and what they became."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from saec.contracts.headers import RawHeaders
from saec.contracts.status import RequestStatus, answered, decode_status
from saec.ingest.customers import CustomerIntake
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store.engine import Engine, rows, transaction
from saec.store.positions import read_positions

ID = UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
OTHER_ID = UUID("0b5b2a8e-6a0e-4b47-9d6c-0f2a7a1f3c11")
# When every record was appended, unless a test says otherwise. No clock is read anywhere here.
APPENDED_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def schedule(request_id: UUID = ID, **changes: Any) -> bytes:
    """A request that is due an hour after it was appended, with some fields changed."""
    event = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(request_id),
        "requester": "billing",
        "channels": ["EMAIL", "SMS"],
        "customers": ["42"],
        "due_at": APPENDED_MS + HOUR_MS,
        "message": {"body": "Olá! Sua fatura vence amanhã.", "content_type": "text/plain"},
    }
    return json.dumps(event | changes).encode()


def cancel(request_id: UUID = ID, requester: str = "billing") -> bytes:
    """The cancel of a request."""
    event = {"type": "saec.v1.CancelRequested", "id": str(request_id), "requester": requester}
    return json.dumps(event).encode()


def customer(id_: str = "42", **fields: Any) -> bytes:
    """A registration with these fields."""
    return json.dumps({"type": "saec.v1.CustomerRegistered", "id": id_, **fields}).encode()


@dataclass
class Ingest:
    """Both intakes of one installation, a topic that grows by what a test appends, and its rows."""

    settings: Settings
    engine: Engine
    _ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def record(
        self,
        value: bytes | None,
        *,
        partition: int = 0,
        offset: int | None = None,
        appended_at_ms: int = APPENDED_MS,
        headers: RawHeaders = None,
    ) -> Incoming:
        """The next record of a partition of the requests topic."""
        topic = self.settings.topics.requests
        at = self._next(topic, partition) if offset is None else offset
        return Incoming(topic, partition, at, appended_at_ms, None, value, headers)

    def registration(
        self,
        value: bytes | None,
        key: bytes | None = b"42",
        *,
        partition: int = 0,
        appended_at_ms: int = APPENDED_MS,
    ) -> Incoming:
        """The next record of a partition of the customers topic."""
        topic = self.settings.topics.customers
        return Incoming(topic, partition, self._next(topic, partition), appended_at_ms, key, value)

    def take(self, *batch: Incoming) -> list[Outgoing]:
        """Take records of the requests topic as one batch."""
        intake = RequestIntake(self.settings, self.engine, self.settings.shards)
        return intake.take(batch, behind(batch))

    def answer(self, *batch: Incoming) -> list[RequestStatus]:
        """Take records of the requests topic as one batch; only the statuses, in source order."""
        return self.statuses(self.take(*batch))

    def statuses(self, answers: Iterable[Outgoing]) -> list[RequestStatus]:
        """The statuses among `answers`, in the order of the records they answer."""
        found = [
            (source_of(answer), decode_status(answer.value or b""))
            for answer in answers
            if answer.topic == self.settings.topics.status and not is_late(answer)
        ]
        return [status for _, status in sorted(found, key=lambda item: item[0])]

    def late(self, answers: Iterable[Outgoing]) -> dict[tuple[int, int], RequestStatus]:
        """The second answers to cancels among `answers`, by what they are about."""
        return {source_of(a): decode_status(a.value or b"") for a in answers if is_late(a)}

    def register(self, *batch: Incoming) -> list[Outgoing]:
        """Take records of the customers topic as one batch."""
        return CustomerIntake(self.settings, self.engine).take(batch, behind(batch))

    def empty(self) -> None:
        """Empty every table that ingest writes, and the claims."""
        self.execute("TRUNCATE requests, pending, cancels, customers, positions, claims")

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with transaction(self.engine) as connection:
            return [tuple(row) for row in rows(connection, statement, **parameters)]

    def execute(self, statement: str, **parameters: Any) -> None:
        """Run a statement behind SAEC's back."""
        with transaction(self.engine) as connection:
            connection.exec_driver_sql(statement, parameters)

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row that ingest of requests writes, but for the order they were inserted in."""
        return {
            "requests": self.sql("SELECT * FROM requests ORDER BY request_id"),
            "pending": self.sql(
                "SELECT request_id, slice_no, shard, lane, due_at_ms, expires_at_ms, channels,"
                " recipients, messages, requester, campaign_id, traceparent, customers,"
                " message::text FROM pending ORDER BY request_id, slice_no"
            ),
            "cancels": self.sql("SELECT * FROM cancels ORDER BY source_partition, source_offset"),
        }

    def pending_slices(self, request_id: UUID = ID) -> list[int]:
        """The numbers of the slices that are still pending."""
        found = self.sql(
            "SELECT slice_no FROM pending WHERE request_id = %(id)s::uuid ORDER BY slice_no",
            id=str(request_id),
        )
        return [row[0] for row in found]

    def claim(self, request_id: UUID = ID, slice_no: int = 0) -> tuple[int, int]:
        """Name a slice in a claim row, as a dispatch worker does; returns (shard, batch)."""
        (claim,) = self.sql(
            "INSERT INTO claims (shard, batch_no, seqs)"
            " SELECT shard, (SELECT 1 + coalesce(max(batch_no), 0) FROM claims), ARRAY[seq]"
            " FROM pending"
            " WHERE request_id = %(id)s::uuid AND slice_no = %(slice_no)s"
            " RETURNING shard, batch_no",
            id=str(request_id),
            slice_no=slice_no,
        )
        return claim[0], claim[1]

    def give_up(self, claim: tuple[int, int]) -> None:
        """Delete a claim row: what it named was not dispatched."""
        named = {"shard": claim[0], "batch_no": claim[1]}
        self.execute(
            "DELETE FROM claims WHERE shard = %(shard)s AND batch_no = %(batch_no)s", **named
        )

    def positions(self, topic: str) -> dict[int, int]:
        """The saved positions of a topic."""
        with transaction(self.engine) as connection:
            return read_positions(connection, topic)

    def _next(self, topic: str, partition: int) -> int:
        end = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = end + 1
        return end


def source_of(answer: Outgoing) -> tuple[int, int]:
    """Partition and offset of the record that a status answers."""
    about, _ = _about(answer)
    _, partition, offset = about.rsplit("/", 2)
    return int(partition), int(offset)


def is_late(answer: Outgoing) -> bool:
    """Whether it is the second answer to a cancel."""
    return _about(answer)[1]


def _about(answer: Outgoing) -> tuple[str, bool]:
    return answered((dict(answer.headers).get("ce_id") or b"").decode())


def behind(batch: Sequence[Incoming]) -> dict[int, int]:
    """The offset behind the last record of each partition."""
    return {record.partition: record.offset + 1 for record in batch}
