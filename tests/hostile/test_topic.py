"""Every kind of bad input on a real topic, each with a good record behind it.

All cases are published once and taken by the real ingest loop; the tests look at what it said.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from saec.clock import SystemClock
from saec.contracts.events import Channel
from saec.contracts.status import Status
from saec.dispatch.round import Worker
from saec.settings import Settings
from saec.store.engine import Engine, open_engine, rows, transaction
from tests.altered import take_compressed
from tests.hostile.case import ACCEPTED, SECRET, Case, customer, good, is_in_words, text
from tests.hostile.case import request_id as id_of
from tests.hostile.cases import CUSTOMERS, REQUESTS
from tests.hostile.topic import Record, Said, publish, said, take

if TYPE_CHECKING:
    from tests.stack import Installations

ROUNDS = 400


@dataclass(frozen=True)
class Run:
    """A source topic after everything on it was taken; a case has two offsets, good behind bad."""

    settings: Settings
    engine: Engine
    said: Said

    def sql(self, statement: str, **parameters: object) -> list[tuple[object, ...]]:
        with transaction(self.engine) as connection:
            return [tuple(row) for row in rows(connection, statement, **parameters)]


@pytest.fixture(scope="module")
def installed(installations: "Installations") -> Iterator[tuple[Settings, Engine]]:
    # Many batches, so that a record that spoils one is seen to spoil no other.
    with installations.make(ingest_batch_records=20) as settings:
        take_compressed(settings)  # so that some are larger than what is accepted
        engine = open_engine(settings.database_url)
        yield settings, engine
        engine.dispose()


def run(installed: tuple[Settings, Engine], role: str, records: list[Record]) -> Run:
    settings, engine = installed
    topic = f"{settings.topic_prefix}{role}"
    assert publish(settings, topic, records) == []
    take(settings, engine, role, len(records))
    return Run(settings, engine, said(settings, topic))


def behind(case: Case) -> str:
    """The name of the good request behind a case."""
    return f"behind {case.name.replace('|', '/')}"


def as_record(case: Case) -> Record:
    return Record(case.value, case.key, case.headers, case.timestamp_ms)


@pytest.fixture(scope="module")
def requests(installed: tuple[Settings, Engine]) -> Run:
    after = (good(behind(case), channels=["PUSH"], customers=[]) for case in REQUESTS)
    pairs = zip(map(as_record, REQUESTS), map(Record, after), strict=True)
    return run(installed, "requests", [record for pair in pairs for record in pair])


@pytest.fixture(scope="module")
def customers(installed: tuple[Settings, Engine]) -> Run:
    after = (Record(customer(f"good{at}"), f"good{at}".encode()) for at in range(len(CUSTOMERS)))
    pairs = zip(map(as_record, CUSTOMERS), after, strict=True)
    return run(installed, "customers", [record for pair in pairs for record in pair])


@pytest.mark.parametrize("at", range(len(REQUESTS)), ids=lambda at: REQUESTS[at].name)
def test_a_request_is_answered_and_the_good_one_behind_is_taken(requests: Run, at: int) -> None:
    case = REQUESTS[at]
    after = id_of(behind(case))
    statuses = requests.said.statuses[2 * at]
    assert tuple((status.status, status.reason) for status in statuses) == case.answer
    if case.decoded is None or case.names_request:
        assert {status.request_id for status in statuses} == {str(case.request_id)}
    assert all(case.hint in (status.detail or "") for status in statuses)
    assert all(is_in_words(status.detail) for status in statuses if status.detail is not None)
    (status,) = requests.said.statuses[2 * at + 1]
    assert (status.status, status.request_id) == (Status.ACCEPTED, str(after))
    assert pending(requests, after) == 1


@pytest.mark.parametrize("at", range(len(REQUESTS)), ids=lambda at: REQUESTS[at].name)
def test_what_is_refused_is_put_aside_as_it_came(requests: Run, at: int) -> None:
    case = REQUESTS[at]
    copies = requests.said.copies[2 * at]
    assert len(copies) == (case.answer[0][0] is Status.REJECTED)
    for copy in copies:
        fits = len(case.value or b"") <= requests.settings.most_copied_bytes
        assert copy.value == (case.value if fits else None)
        assert copy.key == (case.key if fits else None)
        assert copy.headers == [h for h in case.headers if not h[0].startswith("saec-")]
        assert copy.reason == case.answer[0][1]
    assert requests.said.copies[2 * at + 1] == []


def pending(run: Run, request_id: UUID) -> int:
    statement = "SELECT count(*)::int FROM pending WHERE request_id = %(id)s::uuid"
    return int(str(run.sql(statement, id=str(request_id))[0][0]))


def test_only_what_was_accepted_is_stored(requests: Run) -> None:
    accepted = {str(case.request_id) for case in REQUESTS if ACCEPTED in case.answer}
    accepted |= {str(id_of(behind(case))) for case in REQUESTS}
    stored = requests.sql("SELECT request_id::text FROM requests")
    assert {row[0] for row in stored} == accepted


def test_a_doubled_customer_and_channel_count_once(requests: Run) -> None:
    stored = "SELECT customers, channels FROM pending WHERE request_id = %(id)s::uuid"
    for name, customers in (("doubled customers", ["42", "43"]), ("doubled channels", ["42"])):
        at = [case.name for case in REQUESTS].index(name)
        (status,) = requests.said.statuses[2 * at]
        assert status.counts == {"recipients": len(customers), "messages": len(customers)}
        assert requests.sql(stored, id=str(id_of(name))) == [(customers, Channel.EMAIL.bit)]


@pytest.mark.parametrize("at", range(len(CUSTOMERS)), ids=lambda at: CUSTOMERS[at].name)
def test_a_customer_is_answered_and_the_good_one_behind_is_taken(customers: Run, at: int) -> None:
    case = CUSTOMERS[at]
    statuses = customers.said.statuses[2 * at]
    assert tuple((status.status, status.reason) for status in statuses) == case.answer
    assert customers.said.statuses[2 * at + 1] == []
    copies = customers.said.copies[2 * at]
    assert len(copies) == (case.decoded is not None)
    assert all((copy.value, copy.key, copy.headers) == (None, case.key, []) for copy in copies)
    registered = "SELECT email, phone, erased FROM customers WHERE customer_id = %(id)s"
    assert customers.sql(registered, id=f"good{at}") == [(None, None, False)]
    if case.decoded is None:
        id_ = (case.key or b"").decode()
        assert customers.sql(registered, id=id_) == [(None, None, case.value is None)]


def test_only_what_is_valid_is_registered(customers: Run) -> None:
    known = {(case.key or b"").decode() for case in CUSTOMERS if case.decoded is None}
    known |= {f"good{at}" for at in range(len(CUSTOMERS))}
    assert {row[0] for row in customers.sql("SELECT customer_id FROM customers")} == known


def test_no_answer_quotes_what_was_sent(requests: Run, customers: Run) -> None:
    for run in (requests, customers):
        assert not [raw for raw in run.said.raw if SECRET.encode() in raw]


def test_the_broker_keeps_no_customer_without_a_key_in_the_registry(customers: Run) -> None:
    topic = customers.settings.topics.registry
    assert publish(customers.settings, topic, [Record(b"{}", None)]) == ["INVALID_RECORD"]


def test_a_cancel_after_dispatch_is_too_late(installation: Settings) -> None:
    name, topic = "cancel after dispatch", installation.topics.requests
    engine = open_engine(installation.database_url)
    due = good(name, channels=["PUSH"], customers=[], due_at=0)
    lenient = installation.model_copy(update={"grace_s": 10**10})
    assert publish(lenient, topic, [Record(due)]) == []
    take(lenient, engine, "requests", 1)
    worker = Worker(lenient, engine, SystemClock())
    dispatched = Run(lenient, engine, Said())
    for _ in range(ROUNDS):
        if pending(dispatched, id_of(name)) == 0:
            break
        worker.run_once()
    worker.close()
    cancel = {"type": "saec.v1.CancelRequested", "id": str(id_of(name)), "requester": "tests"}
    assert publish(lenient, topic, [Record(text(cancel)), Record(good("behind it"))]) == []
    take(lenient, engine, "requests", 2)
    engine.dispose()
    answers = [status.status for _, (status,) in sorted(said(lenient, topic).statuses.items())]
    assert answers == [Status.ACCEPTED, Status.TOO_LATE, Status.ACCEPTED]
