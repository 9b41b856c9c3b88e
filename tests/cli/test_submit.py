"""`saec submit` and `saec cancel`: what they publish, and what they refuse before."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from saec.cli import publishing
from saec.contracts.decode import decode_request
from saec.contracts.events import CancelRequested, Channel, Lane, ScheduleRequested
from saec.contracts.status import RequestStatus, Status
from saec.kafka.publish import Delivery
from saec.settings import Settings
from tests.cli.conftest import Run, whole_topic

ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
SECRET = "ana@example.com"


def request(**fields: Any) -> dict[str, Any]:
    return {
        "requester": "billing",
        "channels": ["EMAIL"],
        "customers": ["42"],
        "due_at": "2026-12-01T09:00:00-03:00",
        "message": {"body": "Olá!", "content_type": "text/plain"},
    } | fields


def published(settings: Settings) -> list[Any]:
    """The events that the requests topic holds, by whoever reads it."""
    records = whole_topic(settings, settings.topics.requests)
    events = [decode_request(value, None, 1_000_000) for _, value in records]
    assert [key for key, _ in records] == [str(event.id).encode() for event in events]
    return events


def test_flags_become_a_request(here: Run, installation: Settings) -> None:
    flags = ["--to", "42", "--to", "43", "--channel", "EMAIL", "--channel", "sms", "--id", ID]
    flags += ["--subject", "Fatura", "--body", "Olá! 👋", "--campaign", "c1", "--lane", "campaign"]
    flags += ["--at", "2026-12-01T09:00:00-03:00", "--expires", "2026-12-02T09:00:00-03:00"]
    flags += ["--requester", "billing", "--attribute", "template=x=y"]
    result = here("submit", *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{ID}\n"
    (event,) = published(installation)
    assert isinstance(event, ScheduleRequested)
    assert (str(event.id), event.requester, event.campaign_id) == (ID, "billing", "c1")
    assert event.channels == (Channel.EMAIL, Channel.SMS)
    assert (event.customers, event.lane) == (("42", "43"), Lane.CAMPAIGN)
    assert event.due_at_ms == 1_796_126_400_000
    assert event.expires_at_ms == event.due_at_ms + 86_400_000
    assert (event.message.subject, event.message.body) == ("Fatura", "Olá! 👋".encode())
    assert event.message.attributes == {"template": "x=y"}


def test_a_file_of_any_bytes_is_the_body(here: Run, installation: Settings, tmp_path: Path) -> None:
    body = bytes(range(256))
    (tmp_path / "body").write_bytes(body)
    where = ["--body-file", tmp_path / "body"]
    result = here("submit", "--channel", "PUSH", "--at", "+1h", *where, "--json")
    assert result.exit_code == 0, result.output
    (event,) = published(installation)
    assert event.message.body == body
    assert event.message.content_type == "application/octet-stream"
    assert json.loads(result.stdout)["ids"] == [str(event.id)]


def test_lines_on_stdin_are_requests_and_cancels(here: Run, installation: Settings) -> None:
    cancel = {"type": "saec.v1.CancelRequested", "id": ID, "requester": "billing"}
    lines = [request(id=ID), cancel, request()]
    stdin = b"\n".join(json.dumps(line).encode() for line in lines)
    result = here("submit", "-", stdin=stdin)
    assert result.exit_code == 0, result.output
    events = published(installation)
    assert sorted(result.stdout.split()) == sorted(str(event.id) for event in events)
    mine = [event for event in events if str(event.id) == ID]
    assert [type(event) for event in mine] == [ScheduleRequested, CancelRequested]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("content", [request(), [request(), request()]])
def test_a_file_is_an_object_or_an_array(
    here: Run, installation: Settings, tmp_path: Path, indent: int | None, content: Any
) -> None:
    (tmp_path / "r.json").write_text(json.dumps(content, indent=indent))
    result = here("submit", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert len(published(installation)) == (2 if isinstance(content, list) else 1)


def test_one_bad_line_and_nothing_is_published(here: Run, installation: Settings) -> None:
    bad = request(due_at=SECRET)
    stdin = b"\n".join([json.dumps(request()).encode(), b"", json.dumps(bad).encode(), b"{"])
    result = here("submit", "-", stdin=stdin)
    assert result.exit_code == 2
    assert "line 3: invalid_instant: due_at" in result.stderr
    assert "line 4: invalid_json" in result.stderr
    assert SECRET not in result.output
    assert published(installation) == []


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ([], "--channel"),
        (["--channel", "EMAIL", "--at", "now"], "--body"),
        (["--channel", "FAX", "--to", "1", "--body", "x", "--at", "now"], "unknown_channel"),
        (["--channel", "EMAIL", "--body", "x", "--at", "now"], "customers: none"),
        (["--channel", "SMS", "--to", "1", "--body", "x", "--at", "tomorrow"], "+10s"),
        (["--channel", "SMS", "--to", "1", "--body", "x", "--at", "now", "--id", "7"], "UUID"),
        (["--channel", "SMS", "--to", "1", "--body-file", "/none", "--at", "now"], "No such file"),
        (["/none.json"], "No such file"),
        (["/none.json", "--to", "1"], "not both"),
    ],
)
def test_wrong_usage_says_what_to_do(saec: Run, flags: list[str], advice: str) -> None:
    result = saec("submit", *flags)
    assert result.exit_code == 2
    assert advice in result.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--to", "1", "--lane", "fast"], "lane: neither TRANSACTIONAL nor CAMPAIGN"),
        (["--to", "1", "--to", ""], "customers.1: is empty"),
        (["--to", "1", "--subject", "a\nb"], "message.subject: has line ends"),
        (["--to", "x" * 129], "customers.0: too long"),
        (["--to", " 1"], "customers.0: has characters"),
    ],
)
def test_what_is_wrong_is_told_in_words(saec: Run, flags: list[str], words: str) -> None:
    result = saec("submit", "--channel", "SMS", "--body", "x", "--at", "now", *flags)
    assert result.exit_code == 2
    assert words in result.stderr


def test_unknown_and_missing_fields_of_a_file_are_told_in_words(saec: Run) -> None:
    unknown, missing = request(colour="red"), request()
    del missing["requester"]
    result = saec("submit", "-", stdin=json.dumps([unknown, missing]).encode())
    assert "no such field" in result.stderr
    assert "item 2: invalid_event: requester: is missing" in result.stderr
    assert "colour" not in result.stderr


def test_an_answer_that_does_not_come_is_exit_code_4(here: Run) -> None:
    flags = ["--channel", "PUSH", "--body", "x", "--at", "+1h", "--wait", "0.1", "--json"]
    result = here("submit", *flags)
    assert result.exit_code == 4
    assert json.loads(result.stdout)["unanswered"] == 1


def test_a_request_that_is_not_answered_in_time_is_named(here: Run, installation: Settings) -> None:
    result = here("submit", "--channel", "PUSH", "--body", "x", "--at", "+1h", "--wait", "0.1")
    assert result.exit_code == 4
    (event,) = published(installation)
    assert result.stdout == f"{event.id}\n"
    assert f"`saec status {event.id}`" in result.stderr


def test_what_is_answered_is_not_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(publishing.output, "line", shown.append)
    outcome = publishing.Outcome(Delivery(), said=[RequestStatus("a", Status.ACCEPTED, 0)])
    publishing._tell(["a", "b", "a"], outcome, waited=True)
    assert shown == ["a  ACCEPTED", "a", "b"]


def test_a_cancel_names_request_and_requester(here: Run, installation: Settings) -> None:
    result = here("cancel", ID, "--requester", "billing")
    assert result.exit_code == 0, result.output
    assert published(installation) == [CancelRequested(id=uuid.UUID(ID), requester="billing")]


def test_who_names_no_requester_is_this_command(here: Run, installation: Settings) -> None:
    assert here("submit", "--channel", "PUSH", "--body", "x", "--at", "+1h").exit_code == 0
    assert here("cancel", ID).exit_code == 0
    assert {event.requester for event in published(installation)} == {"saec-cli"}


def test_a_topic_that_is_missing_is_exit_code_3(saec: Run, installation: Settings) -> None:
    env = {"SAEC_BOOTSTRAP_SERVERS": installation.bootstrap_servers, "SAEC_TOPIC_PREFIX": "none."}
    result = saec("cancel", ID, **env)
    assert result.exit_code == 3
    assert "saec init" in result.stderr
    assert "Traceback" not in result.output
