"""With the authorizer on and least privilege in the database, nobody does more than is listed here.

What each may do is written down once more, apart from the code that grants it: everything else is
tried, and refused by the real broker and the real database.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from saec.errors import ConfigurationError
from saec.kafka import topics
from saec.settings import Settings
from saec.store import grants
from tests.trust.conftest import url_of
from tests.trust.secured import Secured

DEADLINE_S = 60.0
AsRole = Callable[..., Settings]

CHANNELS = {f"dispatch.{channel}" for channel in ("email", "sms", "whatsapp", "push")}
TOPICS = {"requests", "customers", "registry", *CHANNELS, "status", "rejected", "ledger"}
WRITES = {
    "init": set[str](),
    "requests": {"status", "rejected"},
    "customers": {"registry", "status", "rejected"},
    "dispatch": {*CHANNELS, "status", "ledger"},
    "requester": {"requests"},
    "http": {"requests"},
    "registry": {"customers"},
    "sender-email": set[str](),
    "sender-sms": set[str](),
    "sender-whatsapp": set[str](),
    "sender-push": set[str](),
    "replay": set[str](),
    "auditor": set[str](),
    "historian": set[str](),
}
READS = {
    "init": set[str](),
    "requests": {"requests", "ledger"},
    "customers": {"customers"},
    "dispatch": {"ledger"},
    "requester": {"status"},
    "http": {"status"},
    "registry": set[str](),
    "sender-email": {"dispatch.email"},
    "sender-sms": {"dispatch.sms"},
    "sender-whatsapp": {"dispatch.whatsapp"},
    "sender-push": {"dispatch.push"},
    "replay": TOPICS,
    "auditor": {"status"},
    "historian": {"requests", *CHANNELS, "status", "ledger"},
}
ROLES = sorted(WRITES)
PROCESSES = ("requests", "customers", "dispatch")
MEMBERS = {role for role in ROLES if role in PROCESSES or role.startswith("sender-")}
DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED


def client(settings: Settings, **more: Any) -> dict[str, Any]:
    """The properties of a client that SAEC did not write."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "log_level": 0,
        **settings.kafka,
        **more,
    }


def test_all_are_looked_at(secured: Secured) -> None:
    assert set(secured.passwords) == set(ROLES) == set(READS)
    assert {f"{secured.plain.topic_prefix}{name}" for name in TOPICS} == set(
        secured.plain.topics.all
    )


@pytest.mark.parametrize("role", ROLES)
def test_topics_that_a_role_may_not_write(as_role: AsRole, role: str) -> None:
    settings = as_role(role, "reader")
    producer = Producer(client(settings))
    said: dict[str, int] = {}
    forbidden = {f"{settings.topic_prefix}{name}" for name in TOPICS - WRITES[role]}
    for name in forbidden:
        producer.produce(
            name, b"x", b"x", on_delivery=lambda e, m: said.update({m.topic(): e and e.code()})
        )
    assert producer.flush(DEADLINE_S) == 0
    assert said == dict.fromkeys(forbidden, DENIED)


@pytest.mark.parametrize("role", ROLES)
def test_topics_that_a_role_may_not_read(as_role: AsRole, role: str) -> None:
    settings = as_role(role, "reader")
    config = client(settings, **{"group.id": settings.group_id(role)})
    config["auto.offset.reset"] = "earliest"
    with closing(Consumer(config)) as reader:
        for topic in sorted(TOPICS - READS[role]):
            name = f"{settings.topic_prefix}{topic}"
            shown = reader.list_topics(name, timeout=DEADLINE_S).topics[name].error
            if shown is not None:  # not even to be seen
                assert shown.code() == DENIED
                continue
            reader.assign([TopicPartition(name, 0, 0)])
            code = None
            while code != DENIED:  # the group may be refused first
                record = reader.poll(DEADLINE_S)
                assert record is not None, (topic, code)
                assert record.error() is not None, f"{topic} was read"
                code = record.error().code()


@pytest.mark.parametrize("role", ROLES)
def test_groups_that_a_role_may_not_join(as_role: AsRole, role: str) -> None:
    settings = as_role(role, "reader")
    seen = min(WRITES[role] | READS[role] or {"status"})
    for member in sorted(MEMBERS - {role}):
        config = client(settings, **{"group.id": settings.group_id(member)})
        with closing(Consumer(config)) as intruder:
            intruder.subscribe([f"{settings.topic_prefix}{seen}"])
            said = intruder.poll(DEADLINE_S)
            assert said is not None, member
            assert said.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED, member


@pytest.mark.parametrize("role", ROLES)
def test_nobody_fences_another_kind_of_process(as_role: AsRole, role: str) -> None:
    settings = as_role(role, "reader")
    for of in sorted({*PROCESSES} - {role}):
        id_ = settings.new_transactional_id(of)
        fencing = Producer(client(settings, **{"transactional.id": id_}))
        with pytest.raises(KafkaException) as denied:
            fencing.init_transactions(DEADLINE_S)
        assert denied.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_who_may_not_create_topics_is_told_what_to_create(
    secured: Secured, as_role: AsRole
) -> None:
    """Managed brokers take topics only from their own console or command."""
    elsewhere = as_role("requests").model_copy(update={"partitions": 3})
    spec = topics.TopicSpec(f"{elsewhere.topic_prefix}new", 3, {"retention.ms": "1000"})
    with pytest.raises(ConfigurationError) as refused:
        topics.create(elsewhere, spec)
    said = str(refused.value)
    assert "TOPIC_AUTHORIZATION_FAILED" in said
    assert (
        f"kafka-topics.sh --create --topic {spec.name} --partitions 3 --config retention.ms=1000"
    ) in said
    assert "If a number is not allowed" not in said


@pytest.mark.parametrize("role", ROLES)
def test_nobody_deletes_or_changes_a_topic_not_even_who_made_it(as_role: AsRole, role: str) -> None:
    settings = as_role(role, "reader")
    admin, names = AdminClient(client(settings)), settings.topics.all
    more = admin.create_partitions([NewPartitions(name, 50) for name in names])
    cut = admin.delete_records([TopicPartition(name, 0, 0) for name in names])
    for future in (*admin.delete_topics(names).values(), *more.values(), *cut.values()):
        with pytest.raises(KafkaException) as denied:
            future.result(DEADLINE_S)
        assert denied.value.args[0].code() == DENIED


# The database


_GRANTED = """
    SELECT c.relname, a.attname, p.privilege
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('REFERENCES')) p (privilege)
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        AND has_column_privilege(%(role)s, c.oid, a.attname, p.privilege)
    UNION ALL
    SELECT c.relname, NULL, p.privilege
    FROM pg_class c
    CROSS JOIN (VALUES ('DELETE'), ('TRUNCATE'), ('TRIGGER'), ('MAINTAIN')) p (privilege)
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        AND has_table_privilege(%(role)s, c.oid, p.privilege)
"""
PERSONAL = {("customers", name) for name in ("name", "email", "phone")} | {
    ("pending", "message"),
    ("pending", "customers"),
}


def granted(secured: Secured, role: str) -> set[tuple[str, str | None, str]]:
    """What PostgreSQL itself says a role may do: (table, column or None, privilege)."""
    named = grants.role_name(secured.plain, role)
    connection = psycopg2.connect(secured.plain.database_url)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(_GRANTED, {"role": named})
        return set(cursor.fetchall())


@pytest.mark.parametrize("role", sorted(grants.TABLES))
def test_a_database_role_has_what_is_listed_and_no_more(secured: Secured, role: str) -> None:
    """Also nothing by way of everybody's rights, or of another role's."""
    found = granted(secured, role)
    listed = grants.TABLES[role]
    assert {table for table, _, _ in found} == set(listed)
    for table, privileges in listed.items():
        words = {one.split(" (")[0].strip() for one in _split(privileges)}
        assert {p for t, _, p in found if t == table} == words
    narrow = {t: p for t, p in listed.items() if "(" in p}
    for table, privileges in narrow.items():
        for one in _split(privileges):
            privilege, bracket, columns = one.partition(" (")
            if bracket:
                assert {c for t, c, p in found if (t, p) == (table, privilege)} == {
                    column.strip(" )") for column in columns.split(",")
                }


def _split(privileges: str) -> list[str]:
    """`SELECT, UPDATE (a, b)` -> ["SELECT", "UPDATE (a, b)"]."""
    split: list[str] = []
    for piece in privileges.split(", "):
        if split and split[-1].count("(") > split[-1].count(")"):
            split[-1] += f", {piece}"
        else:
            split.append(piece)
    return split


def test_hashes_of_secrets_are_seen_by_those_who_need_them_alone(secured: Secured) -> None:
    seeing = {
        role for role in grants.TABLES if any(t == "keys" for t, _, _ in granted(secured, role))
    }
    assert seeing == {"http", "keys"}


def test_personal_data_is_seen_by_those_who_need_it_alone(secured: Secured) -> None:
    may = {
        role: {(table, column) for table, column, p in granted(secured, role) if p == "SELECT"}
        for role in grants.TABLES
    }
    assert [may[role] & PERSONAL for role in ("reader", "http", "keys")] == [set()] * 3
    assert may["requests"] & PERSONAL == {("pending", "message"), ("pending", "customers")}
    assert {table for table, _ in may["customers"] & PERSONAL} == {"customers"}


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("customers", "SELECT FROM pending"),
        ("customers", "SELECT FROM requests"),
        ("customers", "UPDATE shards SET halted = NULL"),
        ("requests", "SELECT FROM customers"),
        ("requests", "UPDATE shards SET owner = 'me'"),
        ("requests", "UPDATE requests SET requester = 'me'"),
        ("requests", "DELETE FROM claims"),
        ("dispatch", "UPDATE customers SET email = NULL"),
        ("dispatch", "DELETE FROM requests"),
        ("dispatch", "INSERT INTO positions VALUES ('t', 0, 1)"),
        ("dispatch", "CREATE TEMPORARY TABLE mine (x int)"),
        ("reader", "SELECT message FROM pending"),
        ("reader", "SELECT customers FROM pending"),
        ("reader", "SELECT FROM customers"),
        ("reader", "DELETE FROM pending"),
        ("reader", "CREATE TABLE mine (x int)"),
        ("reader", "SELECT FROM keys"),
        ("requests", "SELECT FROM keys"),
        ("http", "SELECT message FROM pending"),
        ("http", "SELECT customers FROM pending"),
        ("http", "SELECT FROM customers"),
        ("http", "SELECT content_hash FROM requests"),
        ("http", "SELECT FROM claims"),
        ("http", "SELECT FROM shards"),
        ("http", "INSERT INTO requests SELECT * FROM requests"),
        ("http", "DELETE FROM pending"),
        ("http", "INSERT INTO keys SELECT * FROM keys"),
        ("http", "UPDATE keys SET scopes = '{operate}'"),
        ("http", "UPDATE keys SET revoked_at_ms = NULL"),
        ("http", "DELETE FROM keys"),
        ("keys", "UPDATE keys SET secret_hash = secret_hash"),
        ("keys", "UPDATE keys SET scopes = '{operate}'"),
        ("keys", "DELETE FROM keys"),
        ("keys", "SELECT FROM requests"),
    ],
)
def test_what_a_database_role_may_not_do(secured: Secured, role: str, statement: str) -> None:
    connection = psycopg2.connect(url_of(secured.plain, role))
    denied = pytest.raises(psycopg2.errors.InsufficientPrivilege)
    with closing(connection), connection.cursor() as cursor, denied:
        cursor.execute(statement)
