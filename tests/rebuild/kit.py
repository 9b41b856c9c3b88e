"""What the rebuild tests share: two databases held against each other, row for row."""

from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saec.kafka import stretches
from saec.recover.rebuild import Choices, rebuild
from saec.recover.report import Rebuilt
from saec.settings import Settings
from saec.store.engine import open_engine, rows, transaction
from saec.store.tables import metadata
from tests.recover.scene import Scene

COMPARED = ("requests", "pending", "cancels", "skips", "customers", "positions")
# The order of insertion, and where somebody was first registered: only that they were matters.
ASIDE = {"seq", "registered_offset"}


def again(scene: Scene, database_url: str, *, dry_run: bool = False, **choices: Any) -> Rebuilt:
    """Rebuild the database of a scene elsewhere."""
    return rebuild(scene.settings, database_url, Choices(**choices), print, dry_run=dry_run)


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    engine = open_engine(database_url)
    try:
        with transaction(engine) as connection:
            return [tuple(map(_plain, row)) for row in rows(connection, statement)]
    finally:
        engine.dispose()


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def content(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in a database that the topics decide, by table."""
    found = {}
    for table in COMPARED:
        columns = [c.name for c in metadata.tables[table].columns if c.name not in ASIDE]
        found[table] = query(database_url, f"SELECT {', '.join(columns)} FROM {table}")
        found[table].sort(key=repr)
    found["batches"] = query(database_url, "SELECT shard, batch_no FROM shards ORDER BY shard")
    return found


def delete_up_to(settings: Settings, topic: str, partition: int, offset: int) -> None:
    """Delete the records before an offset, as retention does; -1: all of them."""
    place = TopicPartition(topic, partition, offset)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    admin.delete_records([place])[place].result(60)


def kafka(settings: Settings) -> dict[str, object]:
    """What a write to Kafka, or a group, would change."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    groups = admin.list_consumer_groups().result(60).valid
    found: dict[str, object] = {
        "groups": sorted(
            group.group_id for group in groups if group.group_id.startswith(settings.topic_prefix)
        ),
    }
    for topic in settings.topics.all:
        found[topic] = stretches.bounds(settings, topic)
    for role in ("requests", "customers"):
        topic = getattr(settings.topics, role)
        found[f"group of {role}"] = stretches.committed_offsets(settings, role, topic)
    return found
