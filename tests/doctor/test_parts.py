"""Brokers, database and clocks that are not as they should be."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from saec.cli.instants import wall_ms
from saec.doctor import store
from saec.doctor.examine import Report, examine
from saec.kafka import survey
from saec.settings import Settings
from saec.store import engine, place
from saec.store.bounds import Bounds, opening
from saec.store.inspection import Durability
from tests.dispatch.kit import Installed
from tests.doctor.conftest import Look
from tests.doctor.test_topics import alter

if TYPE_CHECKING:
    from tests.stack import Stack

TIMEOUT_S = 60
# DescribeLogDirs in an ApiVersions response: key, lowest and highest version, no tagged fields.
OF_4_2, OF_4_3 = bytes.fromhex("0023 0001 0004 00"), bytes.fromhex("0023 0001 0005 00")


@pytest.fixture
def of_4_3(stack: "Stack") -> Iterator[str]:
    """An address where the real broker says that it speaks what Kafka 4.3 does."""
    host, _, port = stack.bootstrap_servers.partition(",")[0].rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ends: list[socket.socket] = []

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data.replace(OF_4_2, OF_4_3))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    broker = socket.create_connection((host, int(port)))
                    ends.extend((client, broker))
                    for pair in ((client, broker), (broker, client)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_broker_of_4_3(look: Look, of_4_3: str) -> None:
    assert [f.level for f in look("broker_version")] == ["ok"]
    (finding,) = look("broker_version", bootstrap_servers=of_4_3)
    assert (finding.level, of_4_3 in finding.found) == ("error", True)
    advice = finding.advice or ""
    assert all(said in advice for said in ("KAFKA-20734", "4.3.1", "4.4.0", "Use 4.2.2"))


def test_brokers_that_do_not_tell_what_they_speak(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey.Survey, "api_versions", lambda _: {})
    (finding,) = look("broker_version")
    assert (finding.level, "no broker told" in finding.found) == ("warning", True)


def test_a_broker_that_does_not_answer(
    report: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_TIMEOUT_S", 0.5)
    said = report(bootstrap_servers="127.0.0.1:1")
    assert said.unreachable
    found = {finding.check: finding.level for finding in said.findings}
    of_postgresql = ("schema", "local_clock", "postgresql_encryption")
    assert found == {"kafka": "error", **dict.fromkeys(of_postgresql, "ok")}


def test_a_database_that_does_not_answer(report: Callable[..., Report]) -> None:
    said = report(database_url="postgresql://u:hidden@127.0.0.1:1/saec")
    assert said.unreachable
    found = {finding.check: finding.level for finding in said.findings}
    assert found["postgresql"] == "error"
    assert found["append_time"] == "ok"
    assert "positions" not in found
    assert "hidden" not in str(said)


def test_a_schema_of_another_release(installed: Installed, report: Callable[..., Report]) -> None:
    installed.execute("UPDATE alembic_version SET version_num = '9999'")
    said = report()
    (finding,) = [f for f in said.findings if f.check == "schema"]
    assert (finding.level, "schema 9999" in finding.found) == ("error", True)
    assert not said.unreachable


def test_a_database_of_another_prefix(look: Look) -> None:
    (finding,) = look("schema", topic_prefix="other.")
    assert (finding.level, "belongs to the topic prefix" in finding.found) == ("error", True)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("synchronous_commit = off", "synchronous_commit is off"),
        ("default_transaction_read_only = on", "read-only"),
    ],
)
def test_a_database_that_does_not_keep_or_take(
    installed: Installed, look: Look, stack: "Stack", setting: str, says: str
) -> None:
    assert [f.level for f in look("postgresql_settings")] == ["ok"]
    database = place.database(installed.settings.database_url)
    stack.sql(f'ALTER DATABASE "{database}" SET {setting}')
    (finding,) = look("postgresql_settings")
    assert (finding.level, says in finding.found) == ("error", True)


def test_settings_of_the_whole_server_are_seen() -> None:
    """Written down, not made: others may be using this server."""

    class Seen:
        stored = type("Stored", (), {"durability": Durability(False, False, True, True)})

    found = [finding.found for finding in store.durability(Seen)]  # type: ignore[arg-type]
    assert [text.split()[0] for text in found] == ["fsync", "full_page_writes"]


def test_bounds_that_are_not_in_force(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_set(_: object, *, snapshot: bool) -> str:
        return opening(Bounds(statement_s=0), snapshot=snapshot)

    monkeypatch.setattr(engine, "opening", nothing_set)
    (finding,) = look("postgresql_settings")
    assert (finding.level, "statement_timeout: not in" in finding.found) == ("error", True)


def test_traffic_that_others_could_read_is_a_warning(look: Look, installation: Settings) -> None:
    """Of what is named, the first answers; the other is elsewhere."""
    servers = f"{installation.bootstrap_servers},kafka.invalid:1"
    (finding,) = look("kafka_encryption", bootstrap_servers=servers)
    assert (finding.level, "in the clear" in finding.found) == ("warning", True)
    url = re.sub(r"(@[^/?]+|host=[^&]+)", r"\1,db.invalid", installation.database_url, count=1)
    (finding,) = look("postgresql_encryption", database_url=url)
    assert (finding.level, "sslmode=" in finding.found) == ("warning", True)


def test_standbys_that_no_commit_waits_for_are_a_warning() -> None:
    class Seen:
        stored = type("Stored", (), {"durability": Durability(True, True, True, True, 2)})

    (finding,) = store.durability(Seen)  # type: ignore[arg-type]
    assert (finding.level, "standbys: 2" in finding.found) == ("warning", True)


@pytest.mark.parametrize(
    ("off_ms", "level", "says"),
    [
        (-3_000, "warning", "behind"),
        (3_000, "warning", "ahead of"),
        (-90_000, "error", "behind PostgreSQL's, so a worker with this clock sends nothing"),
        (90_000, "warning", "ahead of"),
    ],
)
def test_a_local_clock_that_is_off(
    installation: Settings, off_ms: int, level: str, says: str
) -> None:
    said = examine(installation, lambda: wall_ms() + off_ms, wait_s=0)
    (finding,) = [f for f in said.findings if f.check == "local_clock"]
    assert (finding.level, says in finding.found) == (level, True)


@pytest.mark.parametrize(("ahead_s", "level"), [(30, "warning"), (90, "error")])
def test_append_times_of_the_future(
    installed: Installed, look: Look, admin: AdminClient, ahead_s: int, level: str
) -> None:
    assert [f.level for f in look("broker_clock")] == ["ok"]
    topic = installed.settings.topics.customers
    alter(admin, topic, "message.timestamp.type", "CreateTime")
    producer = Producer({"bootstrap.servers": installed.settings.bootstrap_servers})
    producer.produce(topic, b"x", b"1", timestamp=wall_ms() + ahead_s * 1_000)
    producer.flush(TIMEOUT_S)
    alter(admin, topic, "message.timestamp.type", "LogAppendTime")
    (finding,) = look("broker_clock")
    assert (finding.level, "ahead of PostgreSQL's" in finding.found) == (level, True)
