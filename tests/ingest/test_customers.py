"""The registry on the real database: the newest record stands, only valid addresses go in."""

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import structlog

from saec.clock import SystemClock
from saec.contracts.status import RequestStatus, Status, decode_status
from saec.errors import Reason, StoreUnavailableError
from saec.ingest import registry
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop
from saec.kafka.intake import Batch
from saec.kafka.records import Incoming, Outgoing
from saec.store.customers import Contact, Mention, read_contacts, register
from saec.store.engine import StoreConflictError, transaction
from tests.ingest.kit import APPENDED_MS, Ingest, customer

ANA = {"name": "Ana Souza", "email": "ana@example.com", "phone": "+5511987654321"}
PERSONAL = ("Ana", "Souza", "ana@", "example.com", "98765", "segredo")


def contact(ingest: Ingest, id_: str = "42") -> Contact | None:
    """What dispatch would see."""
    with transaction(ingest.engine) as connection:
        return read_contacts(connection, [id_]).get(id_)


def registry_of(ingest: Ingest, answers: list[Outgoing]) -> None:
    """Make the registry anew from what its topic tells."""
    topic = ingest.settings.topics.registry
    told = [answer for answer in answers if answer.topic == topic]
    read = [Incoming(topic, 0, n, 1, one.key, one.value, one.headers) for n, one in enumerate(told)]
    ingest.execute("TRUNCATE customers")
    with transaction(ingest.engine) as connection:
        register(connection, [registry.mention(record) for record in read])


def stored(ingest: Ingest) -> list[tuple[object, ...]]:
    return ingest.sql("SELECT * FROM customers ORDER BY customer_id")


def others(ingest: Ingest, answers: list[Outgoing]) -> list[Outgoing]:
    """The answers beside the records of saec.registry."""
    return [answer for answer in answers if answer.topic != ingest.settings.topics.registry]


def said(ingest: Ingest, answers: list[Outgoing]) -> list[RequestStatus]:
    topic = ingest.settings.topics.status
    return [decode_status(answer.value or b"") for answer in answers if answer.topic == topic]


def test_a_registration_is_stored_without_an_answer(ingest: Ingest) -> None:
    value = customer(**ANA | {"phone": "(11) 98765-4321"}, opted_out=["SMS", "PUSH"])
    assert others(ingest, ingest.register(ingest.registration(value))) == []
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 2 | 8)
    assert ingest.positions(ingest.settings.topics.customers) == {0: 1}


def test_the_name_is_not_kept(ingest: Ingest) -> None:
    ingest.register(ingest.registration(customer(**ANA)))
    ((row,),) = ingest.sql("SELECT customers::text FROM customers")
    assert "ana@example.com" in row
    assert "Souza" not in row


@pytest.mark.parametrize(
    ("fields", "expected", "reasons"),
    [
        ({"email": "ana at segredo"}, Contact(None, "+5511987654321", 0), [Reason.INVALID_EMAIL]),
        ({"phone": "segredo"}, Contact("ana@example.com", None, 0), [Reason.INVALID_PHONE]),
        ({"phone": "+55 11 1"}, Contact("ana@example.com", None, 0), [Reason.INVALID_PHONE]),
        (
            {"email": "@", "phone": "+1"},
            Contact(None, None, 0),
            [Reason.INVALID_EMAIL, Reason.INVALID_PHONE],
        ),
        ({"email": None, "phone": None}, Contact(None, None, 0), []),
    ],
)
def test_an_invalid_address_is_kept_out_and_the_other_stays(
    ingest: Ingest, fields: dict[str, str], expected: Contact, reasons: list[Reason]
) -> None:
    answers = others(ingest, ingest.register(ingest.registration(customer(**ANA | fields))))
    assert contact(ingest) == expected
    for answer, reason in zip(answers, reasons, strict=True):
        assert answer.key == b"42"
        status = decode_status(answer.value or b"")
        assert (status.detail or "").startswith(f"{reason.removeprefix('invalid_')}: kept out: ")
        assert status._replace(detail=None) == RequestStatus(
            request_id=None,
            customer_id="42",
            status=Status.REJECTED,
            reason=reason,
            at_ms=APPENDED_MS,
        )
    ids = [dict(answer.headers)["ce_id"] for answer in answers]
    assert len(set(ids)) == len(ids)


def test_an_invalid_address_does_not_take_the_place_of_a_good_one(ingest: Ingest) -> None:
    ingest.register(ingest.registration(customer(**ANA)))
    broken = ingest.registration(customer(email="segredo", phone="5,51198765E+12"))
    reasons = [status.reason for status in said(ingest, ingest.register(broken))]
    assert reasons == [Reason.INVALID_EMAIL, Reason.INVALID_PHONE]
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 0)


@pytest.mark.parametrize("null", [{}, {"email": None, "phone": None, "opted_out": None}])
def test_what_a_registration_does_not_mention_stays(ingest: Ingest, null: dict[str, None]) -> None:
    ingest.register(ingest.registration(customer(**ANA, opted_out=["EMAIL", "SMS"])))
    ingest.register(ingest.registration(customer(**null)))
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 1 | 2)
    ingest.register(ingest.registration(customer(phone="+5521987654322", email=None)))
    assert contact(ingest) == Contact("ana@example.com", "+5521987654322", 1 | 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"email": ""}, Contact(None, "+5511987654321", 1)),
        ({"phone": ""}, Contact("ana@example.com", None, 1)),
        ({"opted_out": []}, Contact("ana@example.com", "+5511987654321", 0)),
        ({"opted_out": ["WHATSAPP"]}, Contact("ana@example.com", "+5511987654321", 4)),
    ],
)
def test_what_is_empty_clears(ingest: Ingest, fields: dict[str, object], expected: Contact) -> None:
    ingest.register(ingest.registration(customer(**ANA, opted_out=["EMAIL"])))
    assert others(ingest, ingest.register(ingest.registration(customer(**fields)))) == []
    assert contact(ingest) == expected


def test_records_of_one_batch_add_up_like_those_of_several(ingest: Ingest) -> None:
    batch = [
        ingest.registration(customer(email="a@example.com", opted_out=["SMS"])),
        ingest.registration(customer(phone="+5511987654321")),
        ingest.registration(None),
        ingest.registration(customer(phone="+5521987654322")),
        ingest.registration(customer(email="b@example.com")),
    ]
    ingest.register(*batch)
    at_once = stored(ingest)
    assert contact(ingest) == Contact("b@example.com", "+5521987654322", 0)
    ingest.empty()
    for record in batch:
        ingest.register(record)
    assert stored(ingest) == at_once


def test_of_one_partition_the_later_offset_stands_whatever_the_clock_says(ingest: Ingest) -> None:
    """A new leader's clock may be behind, or set back: the append times of a partition are not
    in order."""
    records = [
        ingest.registration(customer(**ANA), appended_at_ms=APPENDED_MS),
        ingest.registration(customer(opted_out=["EMAIL"]), appended_at_ms=APPENDED_MS - 300),
        ingest.registration(None, appended_at_ms=APPENDED_MS - 200),
    ]
    ingest.register(records[0])
    ingest.register(records[1])
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 1)
    assert others(ingest, ingest.register(records[2])) == []
    assert contact(ingest) is None
    ingest.empty()
    ingest.register(*records)
    assert contact(ingest) is None


def test_nor_does_a_clock_that_steps_back_lose_against_another_partition(ingest: Ingest) -> None:
    """What stands behind a record of T is not older than T."""
    first = ingest.registration(customer(email="a@example.com"), appended_at_ms=1_000)
    erasure = ingest.registration(None, appended_at_ms=500)
    other = ingest.registration(customer(email="b@example.com"), appended_at_ms=750, partition=1)
    for order in ((first, erasure, other), (first, other, erasure), (other, first, erasure)):
        for record in order:
            ingest.register(record)
        assert contact(ingest) is None
        ingest.empty()


def test_a_record_that_is_too_late_is_answered(ingest: Ingest) -> None:
    ingest.register(ingest.registration(customer(**ANA), appended_at_ms=2, partition=1))
    for value in (customer(opted_out=["EMAIL"]), None):
        late = ingest.registration(value, appended_at_ms=1)
        (status,) = said(ingest, ingest.register(late))
        assert (status.status, status.reason) == (Status.REJECTED, Reason.SUPERSEDED)
        assert status.customer_id == "42"
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 0)


def test_an_erasure_of_nobody_is_answered_the_same_whenever_it_comes(ingest: Ingest) -> None:
    nobody = ingest.registration(None, "jose\u0301".encode())
    batch = [nobody, ingest.registration(None), ingest.registration(customer(**ANA))]
    first = ingest.register(*batch)
    assert [status.reason for status in said(ingest, first)] == [Reason.UNKNOWN_CUSTOMER] * 2
    assert "normal form" in (said(ingest, first)[0].detail or "")
    assert ingest.register(*batch) == first
    assert contact(ingest) is not None
    # Somebody who was here once is known, also the second time.
    for _ in range(2):
        assert said(ingest, ingest.register(ingest.registration(None))) == []


def test_the_registry_topic_holds_what_the_registry_holds(ingest: Ingest) -> None:
    told = ingest.register(
        ingest.registration(customer(**ANA, opted_out=["EMAIL"])),
        ingest.registration(customer("43", email="b@example.com"), b"43", partition=1),
        ingest.registration(customer("44", **ANA), b"44", partition=1),
        ingest.registration(None, b"45"),
    )
    told += ingest.register(ingest.registration(customer(phone="")))
    told += ingest.register(ingest.registration(None, b"44", partition=1))
    rows = [row for row in stored(ingest) if row[0] != "45"]
    tombstones = [one.key for one in told if one.value is None]
    assert tombstones == [b"44"]
    for order in (told, told[::-1]):
        registry_of(ingest, order)
        # Where somebody was first registered does not matter once that was answered.
        assert [row[:-1] for row in stored(ingest)] == [row[:-1] for row in rows]


def test_two_processes_that_register_the_same_customer_do_not_overwrite_each_other(
    ingest: Ingest,
) -> None:
    """Both find no row. The second one's batch is taken again, and then it finds one."""
    by_the_other = ingest.registration(customer(email="a@example.com"), partition=1)
    with ThreadPoolExecutor(1) as pool:
        with transaction(ingest.engine) as connection:
            register(connection, [Mention("42", None, "+5511987654321", 4, False, 1, 0, 0)])
            other = pool.submit(ingest.register, by_the_other)
            wait_until_blocked(ingest)
        with pytest.raises(StoreConflictError):
            other.result(60)
    ingest.register(by_the_other)
    assert contact(ingest) == Contact("a@example.com", "+5511987654321", 4)


def wait_until_blocked(ingest: Ingest) -> None:
    """Until a session of this database waits for another one."""
    never = threading.Event()
    while not ingest.sql(
        "SELECT 1 FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        never.wait(0.01)


def test_the_newest_record_stands_in_whatever_order_they_come(ingest: Ingest) -> None:
    """Newest by append time, then by source position."""
    records = [
        ingest.registration(customer(email="a@example.com"), appended_at_ms=1),
        ingest.registration(customer(email="b@example.com"), appended_at_ms=2),
        ingest.registration(customer(email="c@example.com"), appended_at_ms=2, partition=1),
        ingest.registration(customer(email="d@example.com"), appended_at_ms=2, partition=1),
    ]
    for order in itertools.permutations(records):
        for batch in (order[:1], order[1:3], order[3:], order[:2]):
            ingest.register(*batch)
        assert contact(ingest) == Contact("d@example.com", None, 0)
        ingest.empty()


def test_an_erasure_leaves_nothing_of_the_person(ingest: Ingest) -> None:
    ingest.register(ingest.registration(customer(**ANA)))
    assert others(ingest, ingest.register(ingest.registration(None))) == []
    assert contact(ingest) is None
    assert ingest.sql("SELECT email, phone, opted_out, erased FROM customers") == [
        (None, None, 0, True)
    ]


def test_an_older_registration_does_not_bring_the_erased_back(ingest: Ingest) -> None:
    old = ingest.registration(customer(**ANA), appended_at_ms=1)
    erasure = ingest.registration(None, appended_at_ms=2)
    ingest.register(old, erasure)
    ingest.register(old)
    assert contact(ingest) is None
    ingest.register(ingest.registration(customer(**ANA), appended_at_ms=1, partition=1))
    assert contact(ingest) is None
    # One that is newer registers them anew.
    ingest.register(ingest.registration(customer(**ANA), appended_at_ms=3))
    assert contact(ingest) == Contact("ana@example.com", "+5511987654321", 0)


def test_an_erasure_of_somebody_unknown_holds_against_older_records(ingest: Ingest) -> None:
    old = ingest.registration(customer(**ANA), appended_at_ms=1)
    ingest.register(ingest.registration(None, appended_at_ms=2))
    ingest.register(old)
    assert contact(ingest) is None


def test_a_batch_that_comes_again_changes_nothing_and_is_answered_the_same(ingest: Ingest) -> None:
    batch = [
        ingest.registration(customer(**ANA | {"email": "segredo"})),
        ingest.registration(b"segredo"),
        ingest.registration(customer("43", phone="1"), b"43", partition=1),
        ingest.registration(None, b"43", partition=1),
    ]
    first = ingest.register(*batch)
    rows = ingest.sql("SELECT * FROM customers ORDER BY customer_id")
    for taken in range(1, len(batch) + 1):
        again = others(ingest, ingest.register(*batch[:taken]))
        assert again == others(ingest, first)[: len(again)]
        assert ingest.sql("SELECT * FROM customers ORDER BY customer_id") == rows
    assert ingest.register(*batch) == first


REFUSED = {
    "no event": (b"ana@example.com segredo", b"42", Reason.INVALID_JSON),
    "other key": (customer("43", **ANA), b"42", Reason.KEY_MISMATCH),
    "no key": (customer(**ANA), None, Reason.KEY_MISMATCH),
    "no text": (customer(email=["ana@example.com"]), b"42", Reason.INVALID_EVENT),
    "strange field": (customer(segredo="ana@example.com"), b"42", Reason.INVALID_EVENT),
    "channel": (customer(opted_out=["segredo"]), b"42", Reason.UNKNOWN_CHANNEL),
    "erasure of nobody": (None, None, Reason.INVALID_ID),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_registration_is_put_aside_without_its_bytes(ingest: Ingest, name: str) -> None:
    value, key, reason = REFUSED[name]
    good = ingest.registration(customer("7", **ANA), b"7")
    answers = ingest.register(ingest.registration(value, key), good)
    (status,) = said(ingest, answers)
    assert (status.status, status.reason) == (Status.REJECTED, reason)
    assert status.customer_id == (None if key is None else key.decode())
    (copy,) = [one for one in answers if one.topic == ingest.settings.topics.rejected]
    assert (copy.value, copy.key) == (None, key)
    assert contact(ingest) is None
    assert contact(ingest, "7") is not None


def test_nor_do_its_headers_go_along(ingest: Ingest) -> None:
    record = replace(ingest.registration(b"segredo"), headers=[("email", b"ana@example.com")])
    for answer in ingest.register(record):
        assert "email" not in dict(answer.headers)


def test_no_answer_and_no_log_names_a_person_or_an_address(
    ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    batch = [
        *(ingest.registration(value, key) for value, key, _ in REFUSED.values()),
        ingest.registration(customer(**ANA)),
        ingest.registration(customer(**ANA | {"email": "ana@segredo", "phone": "98765"})),
        ingest.registration(None),
    ]
    intake = _Batches([batch])
    taker = CustomerIntake(ingest.settings, ingest.engine)
    with structlog.testing.capture_logs() as logs:
        IngestLoop(lambda: intake, taker, SystemClock(), "customers").run_once()  # type: ignore[arg-type, return-value]
    assert logs
    answered = others(ingest, intake.answered)
    assert len(answered) == 2 * len(REFUSED) + 2
    for secret in PERSONAL:
        assert secret not in f"{logs}{caplog.text}"
        for answer in answered:
            assert secret.encode() not in b"".join(v or b"" for _, v in answer.headers)
            assert secret.encode() not in (answer.value or b"")


@pytest.mark.parametrize(
    ("breaks", "restores", "kind"),
    [
        ("ADD CONSTRAINT no CHECK (email IS NULL)", "DROP CONSTRAINT no", StoreConflictError),
        ("ALTER phone SET NOT NULL", "ALTER phone DROP NOT NULL", StoreConflictError),
        ("ALTER phone TYPE integer USING 0", "ALTER phone TYPE text", StoreUnavailableError),
    ],
    ids=["INSERT", "COPY", "COPY of other types"],
)
def test_an_error_of_the_database_is_logged_without_the_row_it_is_about(
    ingest: Ingest, breaks: str, restores: str, kind: type[Exception]
) -> None:
    """PostgreSQL shows the whole row in the DETAIL and CONTEXT of an error."""
    fields = dict(ANA)
    if "NOT NULL" in breaks:
        del fields["phone"]
    ingest.execute(f"ALTER TABLE customers {breaks}")
    try:
        taker = CustomerIntake(ingest.settings, ingest.engine)
        intake = _Batches([[ingest.registration(customer(**fields))]])
        clock = _StopAtOnce()
        loop = IngestLoop(lambda: intake, taker, clock, "customers")  # type: ignore[arg-type, return-value]
        clock.loop = loop
        with structlog.testing.capture_logs() as logs:
            loop.run()
    finally:
        ingest.engine.dispose()  # a session keeps its temporary tables as they were
        ingest.empty()
        ingest.execute(f"ALTER TABLE customers {restores}")
    assert [(log["event"], log["kind"]) for log in logs] == [("batch abandoned", kind.__name__)]
    assert not [secret for secret in PERSONAL if secret in str(logs)]


class _Batches:
    """An intake that reads given batches, and keeps what was answered."""

    def __init__(self, batches: list[list[Incoming]]) -> None:
        self._batches = batches
        self.answered: list[Outgoing] = []

    def read(self) -> Batch:
        return Batch(self._batches.pop(0), full=False)

    def answer(self, _batch: Batch, answers: list[Outgoing], confirm: Callable[[], None]) -> None:
        confirm()
        self.answered += answers

    def rewind(self) -> None:
        """Nothing to go back to."""


class _StopAtOnce(SystemClock):
    """Stops the loop at its first pause."""

    loop: IngestLoop

    def wait(self, _stop: object, _timeout_s: float) -> bool:
        self.loop.stop()
        return True
