"""What the history tests share: a scene, and the story that is told of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from saec.history import Story, story
from saec.history.events import Answered, Dispatched, Event, Pending, Remark, Sent, Skipped
from saec.settings import Settings
from tests.outages.grounds import wait_until
from tests.recover.scene import Scene

_Event = TypeVar("_Event", bound=Event)
TIMEOUT_S = 60.0


@dataclass
class Told:
    """A scene, and what history tells of it."""

    scene: Scene

    @property
    def settings(self) -> Settings:
        return self.scene.settings

    def ask(self, **fields: Any) -> UUID:
        """A request that is taken in."""
        request_id = self.scene.ask(**fields)
        self.scene.take_requests()
        return request_id

    def sent(self, **fields: Any) -> UUID:
        """A request that is dispatched."""
        request_id = self.ask(**fields)
        self.scene.dispatch()
        return request_id

    def cancel(self, request_id: UUID, requester: str = "tests") -> None:
        self.scene.cancel(request_id, requester)
        self.scene.take_requests()

    def of(self, request_id: UUID, **options: Any) -> Story:
        return story(self.settings, request_id, **options)


def some(told: Story, kind: type[_Event]) -> list[_Event]:
    """The events of a kind."""
    return [event for event in told.events if isinstance(event, kind)]


def names(told: Story) -> list[str]:
    return [event.name for event in told.events]


def statuses(told: Story) -> list[str]:
    return [answer.status.value for answer in some(told, Answered)]


def messages(told: Story) -> list[Sent]:
    return [sent for batch in some(told, Dispatched) for sent in batch.messages]


def slices(told: Story) -> list[int]:
    return [s.slice_no for batch in some(told, Dispatched) for s in batch.slices]


def waiting(told: Story) -> list[int]:
    return [slice_.slice_no for slice_ in some(told, Pending)]


def skips(told: Story) -> set[tuple[int, str, str, int]]:
    return {(s.slice_no, s.channel.value, s.reason, s.messages) for s in some(told, Skipped)}


def remarks(told: Story) -> list[tuple[str, str]]:
    return [(remark.why.value, remark.what) for remark in some(told, Remark)]


def admin(settings: Settings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})


def delete_all(settings: Settings, *topics: str) -> None:
    """What retention does, to all that the topics hold."""
    client = admin(settings)
    listed = client.list_topics(timeout=TIMEOUT_S).topics
    everything = [TopicPartition(t, p, -1) for t in topics for p in listed[t].partitions]
    for deleted in client.delete_records(everything).values():
        deleted.result(TIMEOUT_S)


def widen(settings: Settings, topic: str, partitions: int) -> None:
    """Add partitions, so that keys lead elsewhere."""
    client = admin(settings)
    for made in client.create_partitions([NewPartitions(topic, partitions)]).values():
        made.result(TIMEOUT_S)

    def shown() -> int:
        return len(client.list_topics(timeout=TIMEOUT_S).topics[topic].partitions)

    wait_until(lambda: shown() == partitions)


def plant(
    settings: Settings,
    topic: str,
    values: Iterable[tuple[bytes | None, bytes | None]],
    **fields: Any,
) -> None:
    """Records (key, value) of a producer that is not SAEC's; `timestamp` and `partition` go on."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
        }
    )
    failed = []
    for key, value in values:
        producer.produce(
            topic,
            value,
            key,
            on_delivery=lambda error, _: failed.append(error) if error else None,
            **fields,
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert failed == []
