"""PostgreSQL held against the topics: nothing is found in a true one, and each lie is found."""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from faults.backup import Backup
from saec.audit import (
    Finding,
    Kind,
    Report,
    Scope,
    audit,
    findings,
    snapshot,
    store,
)
from saec.audit.books import Books
from saec.audit.derive import Bounds, derive
from saec.audit.run import _read, nobody
from saec.contracts import avro
from saec.contracts.status import Status
from saec.errors import ConfigurationError
from saec.kafka.intake import Intake
from saec.settings import Settings
from saec.store.engine import transaction
from tests.dispatch.test_worker import KilledError, drive, kill_after
from tests.recover import conftest as of_recover
from tests.recover.scene import KNOWN, Scene
from tests.recover.test_facts import claim_and_die
from tests.recover.test_survival import Story
from tests.stack import Installations, Stack
from tests.survival.run import register

backup_of, make_scene = of_recover.backup_of, of_recover.make_scene
MakeScene = Callable[..., Scene]
Alter = Callable[..., set[tuple[Kind, str | None]]]
STORE = Scope(store=True)
LATER_MS = 3_600_000
TABLES = {
    "positions", "requests", "cancels", "pending", "skips", "customers", "shards", "claims",
}  # fmt: skip


def compared(settings: Settings) -> tuple[Report, list[Finding]]:
    with audit(settings, STORE) as done:
        return done.report, list(done.findings())


def said(settings: Settings) -> set[tuple[Kind, str | None]]:
    return {(one.kind, one.detail) for one in compared(settings)[1]}


class True_:  # noqa: N801
    """An installation in which everything has become of a request that can; and its ids."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.id = dict[str, uuid.UUID]()
        scene.register(*KNOWN, "dora", "eva")
        self._customers()
        self._sent()
        self._cancelled()
        self._refused()
        self._pending()
        scene.back_up()

    @property
    def settings(self) -> Settings:
        return self.scene.settings

    def _customers(self) -> None:
        topic = self.settings.topics.customers
        registered = {"type": "saec.v1.CustomerRegistered", "id": "dora", "phone": "11 98765-4321"}
        self.scene.publish(topic, {**registered, "opted_out": ["EMAIL"]}, "dora")
        self.scene.publish(topic, {**registered, "id": "fabio", "email": "no address"}, "fabio")
        self.scene.publish(topic, {"type": "what is this"}, "gil")
        self.scene.publish(topic, None, "eva")
        self.scene.take_customers()

    def _sent(self) -> None:
        scene = self.scene
        people = ("ana", "bia", "ana", "dora", "eva", "nobody")
        self.id["sent"] = scene.ask(customers=people, channels=["EMAIL", "PUSH"])
        self.id["expired"] = scene.ask(expires_at=scene.installed.now_ms() - 500)
        for _ in range(4):
            scene.ask(customers=("ana",), channels=["EMAIL", "SMS"])
        scene.take_requests()
        scene.dispatch()
        for _ in range(2):
            self.scene.cancel(self.id["sent"])
        scene.take_requests()
        assert scene.answers(self.id["sent"])[-2:] == [Status.TOO_LATE] * 2

    def _cancelled(self) -> None:
        scene = self.scene
        self.id["partly"] = scene.ask(customers=KNOWN)
        scene.take_requests()
        worker = claim_and_die(scene, dispatch_batch_messages=2)
        self.id["wholly"] = scene.ask(LATER_MS, customers=KNOWN, partition=1)
        scene.take_requests()
        for name in ("partly", "wholly", "wholly"):
            scene.cancel(self.id[name])
        self.id["apart"] = scene.ask_apart(LATER_MS, customers=KNOWN)
        self.id["unknown"] = uuid.uuid4()
        scene.cancel(self.id["unknown"])
        scene.take_requests()
        scene.close(worker, killed=True)
        scene.dispatch()
        assert Status.CANCELLED in scene.answers(self.id["partly"])
        assert Status.ALREADY_CANCELLED in scene.answers(self.id["wholly"])

    def _refused(self) -> None:
        scene, topic = self.scene, self.settings.topics.requests
        scene.ask(-LATER_MS * 24 * 365)
        value = {"type": "saec.v1.CancelRequested", "id": str(self.id["sent"]), "requester": "no"}
        scene.publish(topic, value, "other")
        scene.publish(topic, {**value, "requester": ""}, "invalid")
        self._publish(avro.encode_single("cancel_requested", {**value, "requester": " "}), [])
        scene.publish(topic, ["no event"], "no event")
        scene.take_requests()

    def _pending(self) -> None:
        scene = self.scene
        message = {
            "subject": "A, \"b\" and 'c'",
            "body": "Olá",
            "content_type": "text/plain",
            "attributes": {"z": "1", "a": "2"},
        }
        value = {
            "type": "saec.v1.ScheduleRequested",
            "id": str(uuid.uuid4()),
            "requester": 'x, "y"; \\N',
            "campaign_id": "NULL",
            "channels": ["EMAIL", "WHATSAPP", "PUSH"],
            "customers": ["ana", "bia", "ana", "caio", "\\N", "a,b"],
            "due_at": scene.installed.now_ms() + LATER_MS,
            "expires_at": scene.installed.now_ms() + 2 * LATER_MS,
            "message": message,
        }
        self.id["pending"] = uuid.UUID(value["id"])
        trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        # The same again, and another content under the same id.
        for one in (value, value, {**value, "campaign_id": "another"}):
            self._publish(json.dumps(one).encode(), [("traceparent", trace)])
        fields = {**value, "id": str(uuid.uuid4()), "lane": "TRANSACTIONAL", "campaign_id": None}
        fields["message"] = {**message, "body": b"Ol\xff", "attributes": {"one": "1"}}
        self._publish(avro.encode_single("schedule_requested", fields), [])
        self.id["other"] = scene.ask(LATER_MS, customers=KNOWN)
        scene.take_requests()
        answers = scene.answers(self.id["pending"])
        assert answers == [Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED]

    def _publish(self, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers, "log_level": 0})
        producer.produce(self.settings.topics.requests, value, "k", headers=headers)
        producer.flush(60)


@pytest.fixture(scope="module")
def true(installations: Installations, stack: Stack) -> Iterator[True_]:
    with installations.make(shards=2, partitions=2, slice_recipients=2) as settings:
        backup = Backup(stack.sql, urlsplit(settings.database_url).path.lstrip("/"))
        made = True_(Scene(settings, backup))
        yield made
        made.scene.engine.dispose()
        backup.drop()


@pytest.fixture(scope="module")
def read(true: True_, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Books that hold its topics: they do not change, whatever is done to the database."""
    path = tmp_path_factory.mktemp("read") / "books.duckdb"
    with Books(path, memory_mb=100) as books:
        _read(true.settings, books, STORE, nobody)
        yield books


@pytest.fixture
def altered(true: True_, read: Books) -> Iterator[Alter]:
    """Alters the database behind SAEC's back; what is found in it then."""

    def alter(*statements: str) -> set[tuple[Kind, str | None]]:
        ids = {name: f"'{id_}'" for name, id_ in true.id.items()}
        with transaction(true.scene.engine) as connection:
            for statement in statements:
                changed = connection.exec_driver_sql(statement.format(**ids))
                assert changed.rowcount == 1, "one row"
        read.run("DROP SCHEMA pg CASCADE")
        snapshot.copy(true.settings, read)
        derive(read, true.settings, Bounds(read.meta("as_of_ms"), 300_000))
        findings.find(read, STORE)
        store.compare(read, true.settings)
        found = list(findings.stream(read))
        assert len(found) == 1, found
        return {(one.kind, one.detail) for one in found}

    yield alter
    true.scene.restore()


def test_nothing_is_found_in_a_true_one(true: True_) -> None:
    report, found = compared(true.settings)
    assert found == []
    assert report.reconciles
    assert report.store is not None
    assert report.store.keys() == TABLES
    rows = {table: one.rows for table, one in report.store.items()}
    assert {one.unjudged for one in report.store.values()} == {0}
    for table, count in rows.items():
        if table != "claims":
            assert [(count,)] == true.scene.installed.sql(f"SELECT count(*) FROM {table}")
            assert count > 0, table
    statuses = {row[0] for row in true.scene.installed.sql("SELECT status FROM cancels")}
    assert statuses == {
        "CANCELLED", "TOO_LATE", "ALREADY_CANCELLED", "UNKNOWN_REQUEST", "REJECTED",
    }  # fmt: skip


REQUEST = "UPDATE requests SET {column} = {value} WHERE request_id = {{pending}}"
REQUEST_COLUMNS = {
    "requester": "'tests2'", "campaign_id": "NULL", "channels": "9", "lane": "0",
    "due_at_ms": "due_at_ms - 1", "expires_at_ms": "NULL", "recipients": "recipients + 1",
    "messages": "messages + 1", "slices": "slices + 1", "source_partition": "7",
    "content_hash": "decode(md5('x'), 'hex')", "source_offset": "source_offset + 1",
    "accepted_at_ms": "accepted_at_ms + 1",
}  # fmt: skip
SLICE = "UPDATE pending SET {column} = {value} WHERE request_id = {{pending}} AND slice_no = 0"
SLICE_COLUMNS = {
    "shard": "1 - shard", "lane": "0", "due_at_ms": "due_at_ms - 1", "seq": "seq + 1000",
    "expires_at_ms": "NULL", "channels": "1", "recipients": "recipients + 1",
    "messages": "messages + 1", "requester": "''", "campaign_id": "NULL",
    "traceparent": "NULL", "customers": "'{{bia,ana}}'", "schema_version": "2",
    "message": "message || '\\x00'",
}  # fmt: skip
CANCEL = "UPDATE cancels SET {column} = {value} WHERE request_id = {{wholly}} AND decides"
CANCEL_COLUMNS = {
    "request_id": "{other}", "recipients_stopped": "recipients_stopped + 1",
    "messages_stopped": "messages_stopped + 1", "requester": "'tests2'",
    "appended_at_ms": "appended_at_ms + 1", "late": "true",
}  # fmt: skip
LATE = "UPDATE cancels SET {column} = {value} WHERE request_id = {{apart}}"
LATE_COLUMNS = {"late": "false", "messages_stopped": "messages_stopped + 1"}
CUSTOMER = "UPDATE customers SET {column} = {value} WHERE customer_id = 'ana'"
CUSTOMER_COLUMNS = {
    "email": "'ana@example.org'", "phone": "'+5511987654321'", "opted_out": "2",
    "appended_at_ms": "appended_at_ms - 1", "source_partition": "source_partition + 1",
    "source_offset": "source_offset + 1",
}  # fmt: skip


@pytest.mark.parametrize("column", REQUEST_COLUMNS)
def test_a_request_of_which_one_column_was_changed(column: str, altered: Alter) -> None:
    found = altered(REQUEST.format(column=column, value=REQUEST_COLUMNS[column]))
    assert found == {(Kind.STORED_OTHERWISE, f"requests: {column}")}


@pytest.mark.parametrize("column", SLICE_COLUMNS)
def test_a_pending_slice_of_which_one_column_was_changed(column: str, altered: Alter) -> None:
    found = altered(SLICE.format(column=column, value=SLICE_COLUMNS[column]))
    # Of two slices that stand in the wrong order the second is named.
    slice_no = 1 if column == "seq" else 0
    assert found == {(Kind.STORED_OTHERWISE, f"pending: slice {slice_no}: {column}")}


@pytest.mark.parametrize("column", CANCEL_COLUMNS)
def test_a_cancel_of_which_one_column_was_changed(column: str, altered: Alter) -> None:
    found = altered(CANCEL.format(column=column, value=CANCEL_COLUMNS[column]))
    assert found == {(Kind.STORED_OTHERWISE, f"cancels: {column}")}


@pytest.mark.parametrize("column", LATE_COLUMNS)
def test_a_late_cancel_of_which_one_column_was_changed(column: str, altered: Alter) -> None:
    found = altered(LATE.format(column=column, value=LATE_COLUMNS[column]))
    assert found == {(Kind.STORED_OTHERWISE, f"cancels: {column}")}


@pytest.mark.parametrize("column", CUSTOMER_COLUMNS)
def test_a_customer_of_which_one_column_was_changed(column: str, altered: Alter) -> None:
    found = altered(CUSTOMER.format(column=column, value=CUSTOMER_COLUMNS[column]))
    assert found == {(Kind.CUSTOMER_OTHERWISE, column)}


ROWS = {
    "DELETE FROM requests WHERE request_id = {pending}": (Kind.NOT_STORED, "requests"),
    "DELETE FROM requests WHERE request_id = {sent}": (Kind.NOT_STORED, "requests"),
    "INSERT INTO requests SELECT {unknown}, requester, campaign_id, channels, lane, due_at_ms, "
    "expires_at_ms, recipients, messages, slices, content_hash, source_partition, source_offset, "
    "accepted_at_ms FROM requests WHERE request_id = {sent}": (
        Kind.STORED_WITHOUT_RECORD, "requests",
    ),
    "DELETE FROM pending WHERE request_id = {other} AND slice_no = 0": (
        Kind.NOT_PENDING, "slice 0",
    ),
    "DELETE FROM pending WHERE request_id = {pending} AND slice_no = 2": (
        Kind.NOT_PENDING, "slice 2",
    ),
    "DELETE FROM cancels WHERE request_id = {wholly} AND decides": (Kind.NOT_STORED, "cancels"),
    "DELETE FROM cancels WHERE request_id = {unknown}": (Kind.NOT_STORED, "cancels"),
    "INSERT INTO cancels VALUES (0, 0, {other}, 'TOO_LATE', true, 0, 0, 'tests', 0, false)": (
        Kind.STORED_WITHOUT_RECORD, "cancels",
    ),
    "UPDATE cancels SET decides = false WHERE request_id = {sent} AND decides": (
        Kind.STORED_OTHERWISE, "cancels: decides",
    ),
    "UPDATE cancels SET status = 'REJECTED' WHERE request_id = {unknown}": (
        Kind.STORED_OTHERWISE, "cancels: status",
    ),
    "DELETE FROM skips WHERE request_id = {expired}": (
        Kind.NOT_STORED, "skips: slice 0, expired",
    ),
    "INSERT INTO skips VALUES ({sent}, 0, 8, 'expired', 1)": (
        Kind.STORED_WITHOUT_RECORD, "skips: slice 0, expired",
    ),
    "UPDATE skips SET messages = 2 WHERE request_id = {expired}": (
        Kind.STORED_OTHERWISE, "skips: messages: slice 0, expired",
    ),
    "DELETE FROM customers WHERE customer_id = 'bia'": (
        Kind.CUSTOMER_OTHERWISE, "not in the registry",
    ),
    "DELETE FROM customers WHERE customer_id = 'eva'": (
        Kind.CUSTOMER_OTHERWISE, "not in the registry",
    ),
    "INSERT INTO customers VALUES ('gil', NULL, NULL, 0, false, 1, 0, 0)": (
        Kind.CUSTOMER_OTHERWISE, "in the registry alone",
    ),
    "UPDATE customers SET erased = true, email = NULL, phone = NULL WHERE customer_id = 'dora'": (
        Kind.CUSTOMER_OTHERWISE, "email, phone, erased",
    ),
    "UPDATE customers SET email = 'eva@example.com', erased = false WHERE customer_id = 'eva'": (
        Kind.CUSTOMER_OTHERWISE, "email, erased",
    ),
    "INSERT INTO claims VALUES (0, 99, '{{}}')": (
        Kind.STORED_WITHOUT_RECORD, "claims: batch 99 does not follow what was applied",
    ),
    "INSERT INTO claims SELECT shard, batch_no + 1, '{{999}}' FROM shards WHERE shard = 0": (
        Kind.STORED_OTHERWISE, None,
    ),
    "UPDATE shards SET batch_no = batch_no + 1 WHERE shard = 0": (Kind.STORE_POSITION, None),
    "UPDATE shards SET batch_no = batch_no - 1 WHERE shard = 0": (Kind.STORE_POSITION, None),
    "UPDATE shards SET ledger_offset = 0 WHERE shard = 1": (Kind.STORE_POSITION, None),
    "UPDATE shards SET ledger_offset = 9999 WHERE shard = 1": (Kind.STORE_POSITION, None),
    "UPDATE shards SET epoch = 0 WHERE shard = 1": (
        Kind.STORE_POSITION, "shards: the ledger has a later epoch",
    ),
    "DELETE FROM shards WHERE shard = 1": (Kind.STORE_POSITION, None),
    "INSERT INTO shards VALUES (5)": (
        Kind.STORE_POSITION, "shards: the ledger has no such partition",
    ),
    "UPDATE positions SET next_offset = next_offset - 1 WHERE topic LIKE '%%requests' "
    "AND partition = 0": (Kind.STORE_POSITION, None),
    "UPDATE positions SET next_offset = 9999 WHERE topic LIKE '%%customers' AND partition = 1": (
        Kind.STORE_POSITION, None,
    ),
    "DELETE FROM positions WHERE topic LIKE '%%requests' AND partition = 1": (
        Kind.STORE_POSITION, None,
    ),
    "INSERT INTO positions VALUES ('another', 0, 5)": (
        Kind.STORE_POSITION, "positions: there is no such partition",
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement", ROWS)
def test_a_row_that_was_deleted_added_or_changed(statement: str, altered: Alter) -> None:
    kind, detail = ROWS[statement]
    ((found, said_),) = altered(statement)
    assert found is kind
    assert detail in (None, said_)


SLICE_OF = """
    INSERT INTO pending (shard, lane, due_at_ms, request_id, slice_no, channels, recipients,
                         messages, requester, customers, schema_version, message)
    SELECT 0, 1, 0, {request}, {slice_no}, 1, 1, 1, 'tests', ARRAY['ana'], 1, ''
"""


@pytest.mark.parametrize(
    ("request_", "slice_no", "kind", "detail"),
    [
        ("sent", 1, Kind.PENDING_THOUGH_DONE, "slice 1: the ledger has it"),
        ("partly", 0, Kind.PENDING_THOUGH_DONE, "slice 0: the ledger has it"),
        ("partly", 1, Kind.PENDING_THOUGH_DONE, "slice 1: a cancel stopped it"),
        ("wholly", 0, Kind.PENDING_THOUGH_DONE, "slice 0: a cancel stopped it"),
        ("wholly", 5, Kind.STORED_WITHOUT_RECORD, "pending: slice 5"),
        ("unknown", 0, Kind.STORED_WITHOUT_RECORD, "pending: slice 0"),
    ],
)
def test_a_slice_that_must_not_be_pending(
    request_: str, slice_no: int, kind: Kind, detail: str, altered: Alter
) -> None:
    statement = SLICE_OF.format(request=f"{{{request_}}}", slice_no=slice_no)
    assert altered(statement) == {(kind, detail)}


def test_of_a_request_that_is_gone_with_its_slices_one_thing_is_told(altered: Alter) -> None:
    found = altered(
        "DELETE FROM requests WHERE request_id = {other}",
        "DELETE FROM pending WHERE request_id = {other} AND slice_no = 0",
        "DELETE FROM pending WHERE request_id = {other} AND slice_no = 1",
    )
    assert found == {(Kind.NOT_STORED, "requests")}


def test_the_report_names_the_record_and_nothing_of_it(true: True_) -> None:
    scene, id_ = true.scene, true.id["pending"]
    scene.installed.execute(f"UPDATE requests SET lane = 0 WHERE request_id = '{id_}'")
    scene.installed.execute("UPDATE customers SET email = 'x@y.org' WHERE customer_id = 'ana'")
    report, found = compared(true.settings)
    place = scene.installed.sql(
        f"SELECT source_partition, source_offset FROM requests WHERE request_id = '{id_}'"
    )[0]
    scene.restore()
    assert not report.reconciles
    assert report.findings == {Kind.STORED_OTHERWISE: 1, Kind.CUSTOMER_OTHERWISE: 1}
    of_request, of_customer = found
    assert (of_request.request_id, of_customer.customer_id) == (id_, "ana")
    (at,) = of_request.places
    assert (at.topic, at.partition, at.offset) == (true.settings.topics.requests, *place)
    assert of_customer.places[0].topic == true.settings.topics.customers
    assert "@" not in str(found)


def test_an_audit_that_was_interrupted_behind_its_reading_goes_on(
    true: True_, tmp_path: Path
) -> None:
    """From books that were closed, and are read from the file."""
    path = tmp_path / "books.duckdb"
    with Books(path, memory_mb=100) as books:
        _read(true.settings, books, STORE, nobody)
    with Books(path, memory_mb=100) as books:
        derive(books, true.settings, Bounds(books.meta("as_of_ms"), 300_000))
        findings.find(books, STORE)
        store.compare(books, true.settings)
        assert list(findings.stream(books)) == []


def test_a_part_is_not_compared(true: True_) -> None:
    with (
        pytest.raises(ValueError, match="as a whole"),
        audit(true.settings, Scope(requester="tests", store=True)),
    ):
        pass


def test_an_older_database_shows_what_it_lacks(make_scene: MakeScene) -> None:
    scene = make_scene(slice_recipients=2)
    sent = scene.ask(customers=KNOWN)
    stopped = scene.ask(LATER_MS)
    scene.take_requests()
    scene.back_up()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    scene.cancel(stopped)
    later = scene.ask(LATER_MS, partition=1)
    scene.take_requests()
    scene.register("dora")
    assert said(scene.settings) == set()
    scene.restore()
    found = compared(scene.settings)[1]
    kinds = {(one.kind, one.request_id or one.customer_id) for one in found}
    assert kinds == {
        (Kind.NOT_STORED, later),
        (Kind.NOT_STORED, stopped),  # its cancel
        (Kind.PENDING_THOUGH_DONE, sent),
        (Kind.PENDING_THOUGH_DONE, stopped),
        (Kind.CUSTOMER_OTHERWISE, "dora"),
        (Kind.STORE_POSITION, None),
    }
    scene.recover()
    assert said(scene.settings) == set()


@pytest.mark.parametrize("step", ["claim_due", "emit"])
def test_what_is_on_its_way_is_no_finding(make_scene: MakeScene, step: str) -> None:
    scene = make_scene(shards=1, slice_recipients=1)
    asked = scene.ask(customers=(*KNOWN, "nobody"))
    scene.take_requests()
    worker = scene.worker(dispatch_batch_messages=2)
    with pytest.MonkeyPatch.context() as patched:
        kill_after(step)(patched)
        with pytest.raises(KilledError):
            drive(worker, until=lambda: False)
    assert scene.installed.claims() > 0
    scene.cancel(asked)
    scene.take_requests()
    found = compared(scene.settings)[1]
    assert {one.kind for one in found} == set()
    scene.installed.execute("DELETE FROM claims")
    expected = set() if step == "claim_due" else {Kind.PENDING_THOUGH_DONE, Kind.STORE_POSITION}
    assert {kind for kind, _ in said(scene.settings)} - {Kind.NOT_STORED} == expected
    scene.close(worker, killed=True)


def test_a_claim_that_is_given_up_meanwhile_is_no_finding(make_scene: MakeScene) -> None:
    """A batch of the same number, with other slices, is in the ledger before its end is taken."""
    scene = make_scene(shards=1, slice_recipients=1)
    scene.ask(customers=KNOWN[:1])
    scene.take_requests()
    worker = scene.worker()
    with pytest.MonkeyPatch.context() as patched:
        kill_after("claim_due")(patched)
        with pytest.raises(KilledError):
            drive(worker, until=lambda: False)
    copy = snapshot.copy

    def copy_and_go_on(settings: Settings, books: Books) -> None:
        copy(settings, books)
        scene.close(worker, killed=True)
        scene.ask(customers=KNOWN[1:])
        scene.take_requests()
        scene.dispatch()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshot, "copy", copy_and_go_on)
        assert compared(scene.settings)[1] == []


def test_what_was_cut_under_another_setting_is_true(make_scene: MakeScene) -> None:
    scene = make_scene(slice_recipients=2)
    scene.ask(LATER_MS, customers=(*KNOWN, "nobody", "dora"))
    scene.take_requests()
    changed = scene.settings.model_copy(update={"slice_recipients": 3})
    assert said(changed) == set()


def test_what_is_stored_and_not_answered_is_true(make_scene: MakeScene) -> None:
    scene = make_scene()
    with pytest.MonkeyPatch.context() as patched:

        def die(*_: Any) -> None:
            raise KilledError

        patched.setattr(Intake, "answer", die)
        stored = scene.ask(LATER_MS, customers=KNOWN)
        scene.cancel(scene.ask(LATER_MS, partition=1))
        with suppress(KilledError):
            scene.take_requests()
    assert len(scene.installed.sql("SELECT 1 FROM requests")) == 2
    assert said(scene.settings) == set()
    scene.installed.execute(f"UPDATE requests SET lane = 0 WHERE request_id = '{stored}'")
    assert said(scene.settings) == {(Kind.STORED_OTHERWISE, "requests: lane")}


def test_of_what_retention_took_nothing_is_counted_as_equal(make_scene: MakeScene) -> None:
    scene = make_scene(shards=1, partitions=1)
    scene.ask(customers=(*KNOWN, "nobody"))
    scene.take_requests()
    scene.dispatch()
    scene.cancel(scene.ask(LATER_MS))
    scene.take_requests()
    admin = AdminClient({"bootstrap.servers": scene.settings.bootstrap_servers, "log_level": 0})
    topics = scene.settings.topics
    gone = [TopicPartition(name, 0, -1) for name in (topics.requests, topics.ledger)]
    for deleted in admin.delete_records(gone).values():
        deleted.result(60)
    report, found = compared(scene.settings)
    assert report.store is not None
    unjudged = {table: one.unjudged for table, one in report.store.items() if one.unjudged}
    assert unjudged == {"requests": 2, "cancels": 1, "skips": 1}
    assert {one.kind for one in found} == {Kind.UNJUDGED}
    assert not report.reconciles


def test_the_database_of_another_kafka_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.installed.execute("UPDATE installation SET cluster_id = 'another'")
    with pytest.raises(ConfigurationError, match="not the Kafka"):
        compared(scene.settings)


def test_while_everything_goes_on_and_processes_die_nothing_is_found(
    make_installation: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_installation(shards=4, partitions=2)
    with (tmp_path / "fleet.log").open("ab") as log:
        story = Story(settings, log, seed=5)
        story.fleet.start()
        register(settings, story.customers)
        chance = random.Random(5)
        try:
            story.ask(count=600, lead_s=3.0, seconds=25.0)
            pending = 0
            for _ in range(6):
                report, found = compared(settings)
                assert found == []
                assert report.store is not None
                pending += report.store["pending"].rows
                story.fleet.kill_one(chance)
            assert pending > 0
        finally:
            story.fleet.stop()
