"""A history as records in memory: read from topics, changed by hand, written into other topics.

Kafka deletes no single record, so a disagreement is planted while a truthful history is copied.
Answers keep naming the requests that they answer, wherever those come to stand.
"""

import copy
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from faults import readers
from faults.parts import wait_until
from saec.audit import Place
from saec.contracts import avro, dispatch
from saec.contracts.decode import decode_request
from saec.contracts.events import Channel, ScheduleRequested
from saec.contracts.ledger import (
    BatchCommitted,
    LedgerRecord,
    SliceDispatched,
    decode_ledger,
    encode_ledger,
)
from saec.contracts.status import RequestStatus, answered, decode_status, encode_status
from saec.kafka import clients, topics
from saec.settings import Settings

REQUESTS, STATUS, LEDGER = "requests", "status", "ledger"
ROLES = (REQUESTS, STATUS, LEDGER, *Channel)
_TIMEOUT_S = 60.0


@dataclass(eq=False)
class Record:
    """One record. `at` is where it stood; `place` where it was written."""

    role: str
    partition: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    stamp_ms: int
    place: Place | None = None

    def fields(self) -> dict[str, Any]:
        """Of a message, as Avro's fields."""
        return avro.decode_single(self.value or b"", ("dispatch_message",))[1]

    def change(self, **fields: Any) -> None:
        """Change fields of a message."""
        self.value = avro.encode_single("dispatch_message", {**self.fields(), **fields})

    def ledger(self) -> LedgerRecord:
        """Of the ledger."""
        return decode_ledger(self.value or b"")

    def status(self) -> RequestStatus:
        """Of the answers."""
        return decode_status(self.value or b"")

    def header(self, name: str) -> bytes:
        """The value of a header."""
        return dict(self.headers).get(name) or b""


@dataclass
class History:
    """All that an audit reads."""

    shards: int
    partitions: int
    records: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, settings: Settings) -> "History":
        """What stands in the topics of an installation."""
        roles = _names(settings)
        found = cls(settings.shards, settings.partitions)
        for one in readers.read_all(settings.bootstrap_servers, roles):
            record = Record(
                roles[one.topic],
                one.partition,
                one.offset,
                one.key,
                one.value,
                list(one.headers),
                one.timestamp_ms,
            )
            found.records[record.role].append(record)
        for records in found.records.values():
            records.sort(key=lambda record: (record.partition, record.at))
        return found

    def copy(self) -> "History":
        """Another one, to be changed."""
        return copy.deepcopy(self)

    def messages(
        self, request_id: UUID | None = None, channel: Channel | None = None, *customers: str
    ) -> list[Record]:
        """Of a request, on a channel, to these customers; None and nobody stand for all."""
        return [
            record
            for one in Channel
            if channel in {None, one}
            for record in self.records[one]
            if request_id is None or record.fields()["request_id"] == str(request_id)
            if not customers or record.fields()["customer_id"] in customers
        ]

    def message(self, request_id: UUID, channel: Channel, *customers: str) -> Record:
        """The only one."""
        (found,) = self.messages(request_id, channel, *customers)
        return found

    def request(self, request_id: UUID, nth: int = 0) -> Record:
        """The nth record of saec.requests with this key."""
        key = str(request_id).encode()
        return [one for one in self.records[REQUESTS] if one.key == key][nth]

    def answer(self, source: Record) -> Record:
        """The answer to a record of saec.requests."""
        place = f"/{source.partition}/{source.at}".encode()
        (found,) = [one for one in self.records[STATUS] if one.header("ce_id").endswith(place)]
        return found

    def late(self, request_id: UUID) -> Record:
        """The second answer to a cancel of a request."""
        key = str(request_id).encode()
        (found,) = [
            one
            for one in self.records[STATUS]
            if one.key == key and answered(one.header("ce_id").decode())[1]
        ]
        return found

    def batches(self, request_id: UUID) -> list[Record]:
        """The closing records of the ledger that name a request."""
        return [
            one
            for one in self.records[LEDGER]
            if isinstance(batch := one.ledger(), BatchCommitted)
            and request_id in {slice_.request_id for slice_ in batch.slices}
        ]

    def opening(self, batch: Record) -> Record:
        """The opening record of a batch."""
        return [
            one
            for one in self.records[LEDGER]
            if one.partition == batch.partition and one.at < batch.at
        ][-1]

    def made(
        self, request_id: UUID, channel: Channel, customer: str | None, **fields: Any
    ) -> Record:
        """A message that dispatch did not make, to what was asked; by default when it was due."""
        event = decode_request(self.request(request_id).value, None, 1_000_000)
        assert isinstance(event, ScheduleRequested)
        return self.sent(
            channel,
            {
                "message_id": message_id(request_id, channel, customer),
                "customer_id": customer,
                "channel": channel.value,
                "address": None if customer is None else "x",
                "dispatched_at": event.due_at_ms,
                "request_id": str(request_id),
                "campaign_id": event.campaign_id,
                "requester": event.requester,
                "due_at": event.due_at_ms,
                "expires_at": event.expires_at_ms,
                "message": event.message.model_dump(),
                **fields,
            },
        )

    def sent(self, channel: Channel, fields: dict[str, Any]) -> Record:
        """Any message, at the end of a partition."""
        record = self.insert(channel, avro.encode_single("dispatch_message", fields))
        record.key = (fields["customer_id"] or fields["request_id"]).encode()
        record.stamp_ms = max(fields["dispatched_at"], 0)
        return record

    def lead(self, shard: int, *slices: SliceDispatched) -> Record:
        """Slices that no batch dispatched, in the last batch of a shard."""
        record = [
            one
            for one in self.records[LEDGER]
            if one.partition == shard and isinstance(one.ledger(), BatchCommitted)
        ][-1]
        batch = record.ledger()
        assert isinstance(batch, BatchCommitted)
        record.value = encode_ledger(replace(batch, slices=(*batch.slices, *slices)))
        return record

    def drop(self, *records: Record) -> None:
        """Leave records out."""
        for record in records:
            self.records[record.role].remove(record)

    def add(self, record: Record, **changes: Any) -> Record:
        """One more like this, at the end of its partition."""
        more = replace(record, **{"headers": list(record.headers), **changes})
        self.records[more.role].append(more)
        return more

    def insert(self, role: str, value: bytes | None, partition: int = 0) -> Record:
        """Any record, at the end of a partition."""
        stamp_ms = max(one.stamp_ms for one in self.records[role])
        more = Record(role, partition, -1, b"key", value, [], stamp_ms)
        self.records[role].append(more)
        return more

    def forget(self, request_id: UUID, *slice_nos: int) -> None:
        """Take slices of a request out of the ledger; without numbers, all of them."""
        for record in self.batches(request_id):
            batch = record.ledger()
            assert isinstance(batch, BatchCommitted)

            def stays(one: Any) -> bool:
                return one.request_id != request_id or bool(
                    slice_nos and one.slice_no not in slice_nos
                )

            slices = tuple(filter(stays, batch.slices))
            skips = tuple(filter(stays, batch.skips))
            record.value = encode_ledger(replace(batch, slices=slices, skips=skips))

    def say(self, record: Record, **changes: Any) -> None:
        """Change an answer."""
        record.value = encode_status(record.status()._replace(**changes))

    @contextmanager
    def written(
        self, bootstrap_servers: str, answered: dict[int, int] | None = None
    ) -> Iterator[Settings]:
        """An installation whose topics hold these records, and nothing else.

        `answered`: how far ingest had come, by partition; by default to the ends.
        """
        settings = Settings(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=f"h{secrets.token_hex(5)}.",
            shards=self.shards,
            partitions=self.partitions,
        )
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        names = _names(settings)
        try:
            _create(admin, settings)
            self._write(settings)
            ends = dict.fromkeys(range(self.partitions), 0)
            for one in self.records[REQUESTS]:
                ends[one.partition] += 1
            _answered(settings, ends if answered is None else answered)
            yield settings
        finally:
            for deletion in admin.delete_topics(list(names)).values():
                deletion.result(_TIMEOUT_S)

    def _write(self, settings: Settings) -> None:
        names = {role: topic for topic, role in _names(settings).items()}
        with closing(
            Producer(
                {
                    "bootstrap.servers": settings.bootstrap_servers,
                    "enable.idempotence": True,
                    "log_level": 0,
                    "linger.ms": 5,
                }
            )
        ) as producer:
            for role in ROLES:
                for record in self.records[role]:
                    producer.produce(
                        names[role],
                        record.value,
                        record.key,
                        record.partition,
                        headers=self._headers(record, names[REQUESTS]),
                        timestamp=record.stamp_ms,
                        on_delivery=_placing(record),
                    )
                assert producer.flush(_TIMEOUT_S) == 0

    def _headers(self, record: Record, requests: str) -> list[tuple[str, bytes | None]]:
        """With where the request stands that an answer is about."""
        if record.role != STATUS:
            return record.headers
        moved = {f"{one.partition}/{one.at}": one.place for one in self.records[REQUESTS]}
        found = []
        for name, value in record.headers:
            topic, _, rest = (value or b"").decode().partition("/")
            if name == "ce_id" and topic.endswith("requests"):
                about, late = answered(rest)
                place = moved.get(about)
                to = about if place is None else f"{place.partition}/{place.offset}"
                found.append((name, f"{requests}/{to}{'/late' if late else ''}".encode()))
            else:
                found.append((name, value))
        return found


def _placing(record: Record) -> Callable[[Any, Any], None]:
    def placed(error: Any, message: Any) -> None:
        assert error is None, error
        record.place = Place(message.topic(), message.partition(), message.offset())

    return placed


def _names(settings: Settings) -> dict[str, str]:
    own = settings.topics
    return {
        own.requests: REQUESTS,
        own.status: STATUS,
        own.ledger: LEDGER,
        **{topic: channel for channel, topic in own.dispatch.items()},
    }


def _create(admin: AdminClient, settings: Settings) -> None:
    """As `saec init` does, but that records keep the instants at which they were stamped first."""
    wanted = [
        NewTopic(one.name, one.partitions, 1, config={"max.message.bytes": "2000000"})
        for one in topics.specifications(settings, settings.shards)
        if one.name in _names(settings)
    ]
    for creation in admin.create_topics(wanted).values():
        creation.result(_TIMEOUT_S)
    wait_until(lambda: {one.topic for one in wanted} <= topics.partition_counts(admin).keys())


def _answered(settings: Settings, offsets: dict[int, int]) -> None:
    places = [TopicPartition(settings.topics.requests, p, at) for p, at in offsets.items()]
    with closing(clients.consumer(settings, settings.group_id("requests"))) as consumer:
        consumer.commit(offsets=places, asynchronous=False)


def message_id(request_id: UUID, channel: Channel, customer: str | None) -> str:
    """As SAEC makes it."""
    return dispatch.message_id(request_id.bytes, channel, customer)
