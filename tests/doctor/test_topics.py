"""Topics that are not as they should be, made so on the real broker."""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from saec.cli.instants import wall_ms
from saec.doctor.broker import _replication
from saec.doctor.examine import Report, examine
from saec.doctor.findings import Finding
from saec.kafka.survey import TopicState
from saec.settings import Settings
from tests.dispatch.kit import Installed
from tests.doctor.conftest import Look

if TYPE_CHECKING:
    from tests.stack import Installations

TIMEOUT_S = 30
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def shared(installations: "Installations") -> Iterator[Settings]:
    """One installation; who alters it puts it back."""
    with installations.make() as settings:
        yield settings


def found_in(settings: Settings, check: str) -> list[Finding]:
    report: Report = examine(settings, wall_ms, wait_s=0)
    return [finding for finding in report.findings if finding.check == check]


def alter(admin: AdminClient, topic: str, key: str, value: str) -> str:
    """Set one property of a topic; returns what it was."""
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    before = described(admin, resource, key)
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
    # A broker knows a little later what the controller wrote down.
    until_s, tries = time.monotonic() + TIMEOUT_S, threading.Event()
    while described(admin, resource, key) != value:
        assert time.monotonic() < until_s
        tries.wait(0.02)
    return before


def described(admin: AdminClient, resource: ConfigResource, key: str) -> str:
    """What one property is now."""
    return str(admin.describe_configs([resource])[resource].result(TIMEOUT_S)[key].value)


@pytest.mark.parametrize(
    ("topic", "key", "value", "check", "level"),
    [
        ("requests", "message.timestamp.type", "CreateTime", "append_time", "error"),
        ("customers", "message.timestamp.type", "CreateTime", "append_time", "error"),
        ("customers", "cleanup.policy", "delete", "topic_settings", "error"),
        ("ledger", "cleanup.policy", "compact", "topic_settings", "error"),
        ("rejected", "max.message.bytes", "1000000", "topic_settings", "error"),
        ("requests", "max.message.bytes", "1000", "topic_settings", "warning"),
        ("dispatch.push", "max.message.bytes", "200000", "topic_settings", "error"),
        ("status", "max.message.bytes", "200000", "topic_settings", "error"),
        ("ledger", "max.message.bytes", "200000", "topic_settings", "error"),
        ("requests", "compression.type", "producer", "topic_settings", "warning"),
        ("customers", "compression.type", "zstd", "topic_settings", "warning"),
        ("customers", "delete.retention.ms", str(DAY_MS), "topic_settings", "warning"),
        ("ledger", "retention.ms", str(30 * DAY_MS), "retention", "error"),
        ("requests", "retention.ms", str(700 * DAY_MS), "retention", "error"),
        ("status", "retention.ms", str(DAY_MS), "retention", "warning"),
        ("dispatch.email", "retention.ms", "-1", "retention", "warning"),
        ("dispatch.sms", "retention.ms", str(70 * DAY_MS), "retention", "warning"),
        ("requests", "retention.bytes", "1000000", "retention", "warning"),
        ("ledger", "retention.bytes", "1000000", "retention", "warning"),
        ("ledger", "min.insync.replicas", "2", "replication", "error"),
        ("status", "unclean.leader.election.enable", "true", "replication", "error"),
    ],
)
def test_a_topic_of_other_settings(
    shared: Settings, topic: str, key: str, value: str, check: str, level: str
) -> None:
    name = f"{shared.topic_prefix}{topic}"
    admin = AdminClient({"bootstrap.servers": shared.bootstrap_servers})
    fine = {finding.found for finding in found_in(shared, check)}
    before = alter(admin, name, key, value)
    try:
        new = [finding for finding in found_in(shared, check) if finding.found not in fine]
    finally:
        alter(admin, name, key, before)
    assert [(finding.level, bool(finding.advice)) for finding in new] == [(level, True)]
    assert name in new[0].found


def test_one_replica_is_a_warning(shared: Settings) -> None:
    (finding,) = found_in(shared, "replication")
    assert finding.level == "warning"
    assert "fewer than 3 replicas" in finding.found


@pytest.mark.parametrize(
    ("replicas", "in_sync", "least", "says"),
    [
        (3, 3, "2", None),
        (3, 3, "1", "min.insync.replicas=1"),
        (3, 3, "3", "one broker less stops writing"),
        (3, 2, "2", "not in sync"),
        (3, 1, "2", "nothing can be written"),
    ],
)
def test_what_only_several_brokers_can_show(
    replicas: int, in_sync: int, least: str, says: str | None
) -> None:
    """The embedded stack has one broker: these states are written down, not made."""
    topic = TopicState("t", 1, replicas, in_sync, {"min.insync.replicas": least})
    found = [finding.found for finding in _replication([topic])]
    assert len(found) == (0 if says is None else 1)
    assert says is None or says in found[0]


def test_a_missing_topic(installed: Installed, look: Look, admin: AdminClient) -> None:
    assert [f.level for f in look("topics")] == ["ok"]
    name = installed.settings.topics.customers
    admin.delete_topics([name])[name].result(TIMEOUT_S)
    until_s, tries = time.monotonic() + TIMEOUT_S, threading.Event()
    while name in admin.list_topics(timeout=TIMEOUT_S).topics:
        assert time.monotonic() < until_s
        tries.wait(0.02)
    (finding,) = look("topics")
    assert (finding.level, name in finding.found) == ("error", True)
    assert finding.advice == "Run `saec init`."
    assert [f.level for f in look("customers_lag")] == ["error"]


def test_a_ledger_of_another_number_of_shards(installed: Installed, look: Look) -> None:
    installed.execute("DELETE FROM shards WHERE shard = 3")
    (finding,) = look("topics")
    assert finding.level == "error"
    assert "has 4 partitions, the database 3 shards" in finding.found
