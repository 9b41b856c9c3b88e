"""What really happened in an installation: real ingest and real dispatch, in turn.

One request of each kind and one for each way that it may go, with what each comes to.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import Producer

from faults import readers
from saec.contracts import avro
from saec.ingest.requests import RequestIntake
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.transaction import TransactionalProducer
from saec.settings import Settings
from tests.dispatch.test_worker import KilledError, drive
from tests.recover.scene import Scene

HOUR_MS = 3_600_000
SLICE = 2
PEOPLE = tuple(f"p{number}" for number in range(1, 6))  # reached by every channel
SETTINGS = {"slice_recipients": SLICE, "shards": 2, "partitions": 2}


class Story(Scene):
    """A scene that is not restored, and knows what it asked for."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, backup=None)  # type: ignore[arg-type]
        self.ids: dict[str, uuid.UUID] = {}

    def people(self) -> None:
        """Those who are reached by all channels, and those who are not."""
        told = {one: {"email": f"{one}@example.com", "phone": "+5511987654321"} for one in PEOPLE}
        told["no phone"] = {"email": "x@example.com"}
        told["opted out"] = {**told["p1"], "opted_out": ["EMAIL"]}  # type: ignore[dict-item]
        for customer, fields in told.items():
            value = {"type": "saec.v1.CustomerRegistered", "id": customer, **fields}
            self.publish(self.settings.topics.customers, value, customer)
        self.take_customers()

    def tell(
        self,
        name: str,
        customers: Sequence[str] = ("p1",),
        channels: Sequence[str] = ("EMAIL",),
        due_in_ms: int = -1_000,
        **fields: Any,
    ) -> uuid.UUID:
        """Publish a request under a name."""
        self.ids[name] = self.ask(due_in_ms, customers, channels=list(channels), **fields)
        return self.ids[name]

    def tell_in_avro(self, name: str, **fields: Any) -> uuid.UUID:
        """The same in Avro."""
        request_id = self.ids[name] = uuid.uuid4()
        event = {
            "id": str(request_id),
            "requester": "tests",
            "channels": ["SMS"],
            "customers": ["p1"],
            "due_at": self.installed.now_ms() - 1_000,
            "message": {"body": b"\xff", "content_type": "text/plain", "attributes": {"a": "b"}},
            **fields,
        }
        self.raw(avro.encode_single("schedule_requested", event), str(request_id))
        return request_id

    def raw(self, value: bytes, key: str) -> None:
        """Publish these bytes to saec.requests."""
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers, "log_level": 0})
        producer.produce(self.settings.topics.requests, value, key)
        assert producer.flush(60) == 0

    def again(self, name: str, due_at: int, **changes: Any) -> None:
        """Publish the last request once more, perhaps with other content."""
        value = {
            "type": "saec.v1.ScheduleRequested",
            "id": str(self.ids[name]),
            "requester": "tests",
            "channels": ["EMAIL"],
            "customers": ["p1"],
            "due_at": due_at,
            "message": {"body": "Olá", "content_type": "text/plain"},
            **changes,
        }
        self.publish(self.settings.topics.requests, value, str(self.ids[name]))

    def stop(self, name: str, requester: str = "tests") -> None:
        """Publish a cancel."""
        id_ = str(self.ids.setdefault(name, uuid.uuid4()))
        value = {"type": "saec.v1.CancelRequested", "id": id_, "requester": requester}
        self.publish(self.settings.topics.requests, value, id_)

    def dispatch_until(self, pending: int) -> None:
        """Dispatch slice by slice until at most so many are pending."""
        worker = self.worker(dispatch_batch_messages=1)
        drive(worker, until=lambda: self.installed.pending() <= pending)
        self.close(worker)

    def die_dispatching(self) -> None:
        """Ingest, and a worker that is killed with everything produced, and nothing committed."""
        worker = self.worker()
        drive(worker, until=lambda: len(worker.owned) == self.settings.shards)
        self.take_requests()

        def die(producer: TransactionalProducer) -> None:
            producer._producer.flush(60)
            raise KilledError

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(TransactionalProducer, "commit", die)
            with pytest.raises(KilledError):
                drive(worker, until=lambda: self.installed.pending() == 0)
        self.close(worker, killed=True)

    def store_without_answers(self) -> None:
        """Ingest that stores what it has not taken, and dies before it answers."""
        topic = self.settings.topics.requests
        stands = stretches.committed_offsets(self.settings, "requests", topic)
        batch = [
            Incoming(
                *(one.topic, one.partition, one.offset, one.timestamp_ms),
                *(one.key, one.value, one.headers),
            )
            for one in readers.read_all(self.settings.bootstrap_servers, [topic])
            if one.offset >= stands.get(one.partition, 0)
        ]
        ends = {p: kept.end for p, kept in stretches.bounds(self.settings, topic).items()}
        RequestIntake(self.settings, self.engine, self.settings.shards).take(batch, ends)


def everything(story: Story) -> None:
    """One of each, all of it dispatched but for what is to stay."""
    story.people()
    story.ids["apart"] = story.ask_apart(HOUR_MS, customers=PEOPLE)
    both = ("p1", "opted out", "no phone", "nobody", "p2")
    personal = ("EMAIL", "SMS", "WHATSAPP")
    story.tell("single", message={"body": "Olá", "content_type": "text/plain", "subject": "Oi"})
    story.tell_in_avro("avro")
    story.tell("campaign", PEOPLE, campaign_id="spring", requester="shop")
    story.tell("skips", both, (*personal, "PUSH"), campaign_id="autumn")
    story.tell("twice named", ("p1", "p2", "p1", "p3", "p2"), ("SMS", "PUSH"))
    story.tell("push", (), ("PUSH",))
    due_ms = story.installed.now_ms() - 3_000
    story.tell("expired", ("p1", "p2", "p3"), due_at=due_ms, expires_at=due_ms + 1_000)
    story.tell("in time", due_in_ms=-1_000, expires_at=due_ms + HOUR_MS)
    story.tell("pending", PEOPLE, ("EMAIL", "PUSH"), due_in_ms=HOUR_MS, campaign_id="spring")
    story.tell("stopped", PEOPLE, ("EMAIL", "PUSH"), due_in_ms=HOUR_MS)
    story.tell("in the past", due_in_ms=-HOUR_MS)
    story.tell("repeated", due_at=due_ms)
    story.again("repeated", due_at=due_ms)
    story.again("repeated", due_at=due_ms, customers=["p2"])
    story.raw(b"{", "garbage")
    story.stop("unknown")
    story.stop("stopped", "somebody else")
    story.stop("stopped")
    story.stop("stopped")
    story.die_dispatching()
    pending = story.installed.pending
    kept = 4  # the slices of what is due in an hour
    drive_to(story, kept)
    story.tell("stopped midway", PEOPLE, ("EMAIL", "SMS", "PUSH"))
    story.take_requests()
    story.dispatch_until(kept + 3)
    assert kept < pending() < kept + 4
    story.stop("stopped midway")
    story.stop("single")
    story.stop("single")
    story.take_requests()
    story.tell("dispatched first", ("p4",))
    story.store_without_answers()
    drive_to(story, kept)


def drive_to(story: Story, pending: int) -> None:
    """Dispatch all that is due."""
    story.dispatch(until=lambda: story.installed.pending() <= pending)
