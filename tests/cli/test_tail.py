"""`saec tail`: what it shows of a channel's topic, and what only when asked."""

import json
from uuid import UUID

import pytest

from saec.contracts.dispatch import encode_message, message_id, recipient_head, slice_tail
from saec.contracts.events import Channel, Message
from saec.contracts.headers import cloud_event
from saec.contracts.status import RequestStatus, Status, encode_status
from saec.errors import Reason
from saec.ingest.answers import rejected_copy
from saec.ingest.decide import Verdict
from saec.kafka.publish import publish
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from tests.cli.conftest import Run

ID = UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")
ADDRESS = "ana@example.com"
BODY = "Olá!\x1b[2J"


def put(settings: Settings, *values: bytes, topic: str | None = None) -> None:
    where = topic or settings.topics.dispatch[Channel.EMAIL]
    delivery = publish(settings, [Outgoing(where, value, b"42", []) for value in values])
    assert delivery.failures == []


def value(customer: str = "42") -> bytes:
    content = Message(subject="Fatura", body=BODY.encode(), content_type="text/plain")
    head = recipient_head(
        message_id(ID.bytes, Channel.EMAIL, customer), customer, Channel.EMAIL, ADDRESS
    )
    tail = slice_tail(1_010, ID, None, "billing", 1_000, None, encode_message(content))
    return head + tail


def test_addresses_and_content_are_hidden(here: Run, installation: Settings) -> None:
    put(installation, value())
    plain = here("tail", "email", "--no-follow")
    as_json = here("tail", "EMAIL", "--no-follow", "--json")
    assert plain.exit_code == as_json.exit_code == 0
    assert "customer 42" in plain.stdout
    assert "+10 ms" in plain.stdout
    told = json.loads(as_json.stdout)
    assert (told["customer_id"], told["due_at"]) == ("42", "1970-01-01T00:00:01.000Z")
    for output in (plain.output, as_json.output):
        assert ADDRESS not in output
        assert "Olá" not in output


def test_content_is_shown_when_asked_for(here: Run, installation: Settings) -> None:
    put(installation, value())
    plain = here("tail", "email", "--no-follow", "--show-content")
    assert ADDRESS in plain.stdout
    assert "Olá!" in plain.stdout
    assert "\x1b" not in plain.stdout
    told = json.loads(here("tail", "email", "--no-follow", "--show-content", "--json").stdout)
    assert told["address"] == ADDRESS
    assert told["message"]["body"] == BODY


def test_what_cannot_be_read_is_told_and_passed_over(here: Run, installation: Settings) -> None:
    put(installation, b"garbage", value())
    result = here("tail", "email", "--no-follow", "--json")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert "invalid_avro" in result.stderr


def test_following_ends_after_so_many(here: Run, installation: Settings) -> None:
    put(installation, value("1"), value("2"), value("3"))
    result = here("tail", "email", "--from-beginning", "--count", "2", "--json")
    assert [json.loads(line)["customer_id"] for line in result.stdout.splitlines()] == ["1", "2"]


@pytest.mark.parametrize(("since", "lines"), [("1h", 1), ("now", 0), ("2000-01-01T00:00:00Z", 1)])
def test_since(here: Run, installation: Settings, since: str, lines: int) -> None:
    put(installation, value())
    result = here("tail", "email", "--no-follow", "--since", since)
    assert len(result.stdout.splitlines()) == lines


def test_the_answers_can_be_read_too(here: Run, installation: Settings) -> None:
    answer = RequestStatus(str(ID), Status.ACCEPTED, 1_000, counts={"messages": 1})
    put(installation, encode_status(answer), topic=installation.topics.status)
    shown = here("tail", "status", "--no-follow").stdout
    assert shown == f"1970-01-01T00:00:01.000Z  {ID}  ACCEPTED  messages=1\n"
    told = json.loads(here("tail", "status", "--no-follow", "--json").stdout)
    assert (told["status"], told["counts"]) == ("ACCEPTED", {"messages": 1})


def test_an_answer_to_nobody_names_the_record(here: Run, installation: Settings) -> None:
    answer = RequestStatus(None, Status.REJECTED, 1_000, Reason.INVALID_JSON)
    headers = cloud_event("t", "/saec/requests", "saec.requests/3/14")
    outgoing = Outgoing(installation.topics.status, encode_status(answer), None, headers)
    assert publish(installation, [outgoing]).failures == []
    assert "  record saec.requests/3/14  REJECTED" in here("tail", "status", "--no-follow").stdout
    told = json.loads(here("tail", "status", "--no-follow", "--json").stdout)
    assert told["about"] == "saec.requests/3/14"


def test_what_was_refused_is_shown_without_its_value(here: Run, installation: Settings) -> None:
    source = Incoming("saec.requests", 3, 14, 0, ADDRESS.encode(), BODY.encode(), [])
    why = Verdict(Status.REJECTED, Reason.INVALID_JSON, "not JSON")
    copy = rejected_copy(installation, source, why, keep=True)
    assert publish(installation, [copy]).failures == []
    plain = here("tail", "rejected", "--no-follow")
    as_json = here("tail", "rejected", "--no-follow", "--json")
    assert "invalid_json  not JSON  saec.requests/3/14  9 bytes" in plain.stdout
    told = json.loads(as_json.stdout)
    assert (told["reason"], told["topic"]) == ("invalid_json", "saec.requests")
    assert (told["partition"], told["offset"], told["value_bytes"]) == (3, 14, 9)
    for output in (plain.output, as_json.output):
        assert ADDRESS not in output
        assert "Olá" not in output
    shown = here("tail", "rejected", "--no-follow", "--show-content").stdout
    assert ADDRESS in shown
    assert "Olá!" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("since", ["+1h", "2999-01-01T00:00:00Z", "yesterday"])
def test_since_when_that_is_no_time_ago(saec: Run, since: str) -> None:
    result = saec("tail", "email", "--since", since)
    assert result.exit_code == 2
    assert "--since" in result.stderr
    assert "10m" in result.stderr


def test_the_help_is_not_cut(saec: Run) -> None:
    assert "…" not in saec("tail", "--help", COLUMNS="80").stdout


def test_a_channel_that_is_none(saec: Run) -> None:
    result = saec("tail", "fax")
    assert result.exit_code == 2
    assert "whatsapp" in result.stderr
