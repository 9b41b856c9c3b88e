"""Topics that are not as they should be, made so on the real broker."""

import threading
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from saec.cli.instants import wall_ms
from saec.doctor import examine as examine_module
from saec.doctor.broker import _replication
from saec.doctor.examine import Report, examine
from saec.doctor.findings import Finding
from saec.errors import BrokerUnavailableError
from saec.kafka import survey
from saec.kafka.survey import TopicState
from saec.settings import Settings
from tests.dispatch.kit import Installed
from tests.doctor.conftest import Look

if TYPE_CHECKING:
    from tests.stack import Installations

TIMEOUT_S = 60
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
        ("customers", "cleanup.policy", "compact", "topic_settings", "error"),
        ("registry", "cleanup.policy", "delete", "topic_settings", "error"),
        ("registry", "max.compaction.lag.ms", str(30 * DAY_MS), "topic_settings", "warning"),
        ("registry", "segment.ms", str(7 * DAY_MS), "topic_settings", "warning"),
        ("dispatch.email", "segment.ms", str(7 * DAY_MS), "topic_settings", "warning"),
        ("rejected", "segment.ms", str(7 * DAY_MS), "topic_settings", "warning"),
        ("customers", "retention.ms", str(90 * DAY_MS), "retention", "warning"),
        ("ledger", "cleanup.policy", "compact", "topic_settings", "error"),
        ("rejected", "max.message.bytes", "1000000", "topic_settings", "error"),
        ("requests", "max.message.bytes", "1000", "topic_settings", "warning"),
        ("dispatch.push", "max.message.bytes", "200000", "topic_settings", "error"),
        ("status", "max.message.bytes", "200000", "topic_settings", "error"),
        ("ledger", "max.message.bytes", "200000", "topic_settings", "error"),
        ("requests", "compression.type", "producer", "topic_settings", "warning"),
        ("customers", "compression.type", "zstd", "topic_settings", "warning"),
        ("registry", "delete.retention.ms", str(DAY_MS), "topic_settings", "warning"),
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


@pytest.mark.parametrize(
    ("key", "check"),
    [
        ("message.timestamp.type", "append_time"),
        ("cleanup.policy", "topic_settings"),
        ("max.message.bytes", "topic_settings"),
        ("delete.retention.ms", "topic_settings"),
        ("retention.ms", "retention"),
        ("retention.bytes", "retention"),
        ("min.insync.replicas", "replication"),
        ("unclean.leader.election.enable", "replication"),
    ],
)
@pytest.mark.parametrize("value", ["absent", None])
def test_a_setting_that_the_broker_does_not_report(
    shared: Settings, monkeypatch: pytest.MonkeyPatch, key: str, check: str, value: str | None
) -> None:
    """Redpanda, WarpStream and Event Hubs leave some out, or report them without a value."""
    before = found_in(shared, check)
    state = survey._state

    def reported(listed: Any, config: Mapping[str, Any]) -> TopicState:
        others = {name: entry for name, entry in config.items() if name != key}
        return state(
            listed, others if value else others | {key: SimpleNamespace(name=key, value=None)}
        )

    monkeypatch.setattr(survey, "_state", reported)
    said = [f for f in found_in(shared, check) if f not in before]
    assert not [finding for finding in said if "could not be looked at" in finding.found]
    if key in {"retention.bytes", "unclean.leader.election.enable"}:
        assert said == []  # by default neither is harmful
        return
    (finding,) = said
    assert (finding.level, finding.found.split(":")[0]) == (
        "warning",
        f"{key} is not reported by this broker",
    )


def test_topics_of_kafka_itself_that_are_not_shown(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs brokers for others keeps them to himself; the rest is looked at all the same."""
    configs = survey.Survey._configs

    def refused(self: survey.Survey, names: list[str]) -> dict[str, Any]:
        if set(names) & set(survey.INTERNAL_TOPICS):
            raise BrokerUnavailableError("Kafka: TOPIC_AUTHORIZATION_FAILED: not for you")
        return configs(self, names)

    monkeypatch.setattr(survey.Survey, "_configs", refused)
    report: Report = examine(shared, wall_ms, wait_s=0)
    assert not report.unreachable
    said = [f.found for f in report.findings if f.check == "replication"]
    assert any("min.insync.replicas is not reported" in found for found in said)
    assert any("__consumer_offsets" in found for found in said)


def test_a_check_that_fails_by_itself_is_told_by_its_kind_alone(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_patient: object) -> list[Finding]:
        raise KeyError("ana@example.com")

    monkeypatch.setitem(examine_module.KAFKA, "retention", fails)
    report: Report = examine(shared, wall_ms, wait_s=0)
    (finding,) = [f for f in report.findings if f.check == "retention"]
    assert (finding.level, finding.found) == ("error", "could not be looked at: KeyError")
    assert "ana@example.com" not in str(report)
    assert {"overdue", "append_time"} <= {f.check for f in report.findings}


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
