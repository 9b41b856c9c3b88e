"""By curl alone, on the real stack: scheduled, seen, cancelled, answered, and then dispatched."""

import io
import json
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import parse_headers
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from saec.audit.run import audit
from saec.clock import SystemClock
from saec.contracts.instants import instant_ms, iso
from saec.dispatch.round import Worker
from saec.ingest.customers import CustomerIntake
from saec.ingest.loop import IngestLoop, opener
from saec.keys import Scope
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed
from tests.dispatch.test_worker import drive
from tests.http.endpoint import Served, Told, answering, make_key, serve
from tests.outages.grounds import wait_until
from tests.stack import Installations

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")

HOUR_MS = 3_600_000
SOMEDAY_MS = (int(time.time() * 1000) // HOUR_MS + 24) * HOUR_MS
WAIT = ("-H", "Prefer: wait=60")
PEOPLE = ("ana", "bia")


@dataclass(frozen=True)
class Curl:
    """curl with a key. Each call is a process of its own."""

    served: Served
    directory: Path
    key: str

    def __call__(self, path: str, *options: str) -> Told:
        """One request; GET without options that say otherwise."""
        head, body = self.directory / "head", self.directory / "body"
        body.unlink(missing_ok=True)
        said = subprocess.run(
            [
                *(str(CURL), "-sS", "--max-time", "90", "-w", "%{http_code}"),
                *("-D", str(head), "-o", str(body), "-H", f"Authorization: Bearer {self.key}"),
                *(f"{self.served.url}{path}", *options),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        last = head.read_bytes().removesuffix(b"\r\n\r\n").rpartition(b"\r\n\r\n")[2]
        headers = parse_headers(io.BytesIO(last.partition(b"\r\n")[2] + b"\r\n\r\n"))
        return Told(int(said.stdout), headers, body.read_bytes())

    def schedule(self, *options: str, **fields: Any) -> Told:
        """POST a request, as JSON."""
        body = json.dumps(request(**fields), ensure_ascii=False)
        return self("/v1/requests", "-H", "Content-Type: application/json", "-d", body, *options)

    def cancel(self, id_: str, *options: str) -> Told:
        """POST a cancel."""
        return self(f"/v1/requests/{id_}/cancel", "-X", "POST", *options)

    def find(self, **parameters: Any) -> Told:
        """GET a list."""
        given = [f"{name}={value}" for name, value in parameters.items()]
        options = [option for one in given for option in ("--data-urlencode", one)]
        return self("/v1/requests", "--get", *options)


def request(**changes: Any) -> dict[str, Any]:
    """A request that is due tomorrow."""
    return {
        "channels": ["SMS"],
        "customers": ["ana"],
        "due_at": SOMEDAY_MS,
        "lane": "CAMPAIGN",
        "message": {"body": "Olá! Sua fatura vence amanhã.", "content_type": "text/plain"},
        **changes,
    }


def accepted(curl: Curl, **fields: Any) -> str:
    """Have a request accepted; its id."""
    told = curl.schedule(*WAIT, **fields)
    assert (told.status, told.json["answer"]["status"]) == (201, "ACCEPTED")
    return str(told.json["request_id"])


@pytest.fixture(scope="module")
def settings(installations: Installations) -> Iterator[Settings]:
    """The installation, with two customers."""
    with installations.make(shards=2) as made:
        register(made)
        yield made


@pytest.fixture(scope="module")
def keys(settings: Settings) -> dict[str, str]:
    """A key of each requester who asks here."""
    own = (Scope.SCHEDULE, Scope.READ)
    names = ("billing", "crm", "lists", "hours", "bulk")
    return {
        **{name: make_key(settings, name, own) for name in names},
        "operator": make_key(settings, "operator", (Scope.OPERATE,)),
        "reader": make_key(settings, "billing", (Scope.READ,)),
        "writer": make_key(settings, "billing", (Scope.SCHEDULE,)),
    }


@pytest.fixture(scope="module")
def curls(
    settings: Settings, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Curl]]:
    """curl with each of the keys, while the endpoint and the consumer of requests run."""
    where = tmp_path_factory.mktemp("curl")
    with serve(settings, where / "endpoint.log") as served, answering(settings):
        yield {name: Curl(served, where, key) for name, key in keys.items()}


@pytest.fixture
def curl(curls: dict[str, Curl]) -> Curl:
    """curl with the key of `billing`."""
    return curls["billing"]


def register(settings: Settings) -> None:
    """Have the two customers registered, by the topic."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for name in PEOPLE:
        value = {
            "type": "saec.v1.CustomerRegistered",
            "id": name,
            "email": f"{name}@example.com",
            "phone": "+5511987654321",
        }
        producer.produce(settings.topics.customers, json.dumps(value), name)
    assert producer.flush(60) == 0
    producer.close()
    engine = open_engine(settings.database_url)
    loop = IngestLoop(
        opener(settings, engine, "customers", settings.topics.customers),
        CustomerIntake(settings, engine),
        SystemClock(),
        "customers",
    )
    installed = Installed(settings, engine)

    def registered() -> bool:
        loop.run_once()
        return installed.sql("SELECT count(*) FROM customers") == [(len(PEOPLE),)]

    wait_until(registered)
    loop.close()
    engine.dispose()


def test_scheduled_seen_and_cancelled(curl: Curl) -> None:
    id_ = str(uuid.uuid4())
    told = curl.schedule(id=id_, channels=["EMAIL", "SMS"], customers=[*PEOPLE], campaign_id="c1")
    assert told.status == 202
    assert told.headers["location"] == f"/v1/requests/{id_}"
    record, topic = told.json["record"], curl.served.settings.topics.requests
    assert re.fullmatch(rf"{re.escape(topic)}/[01]/\d+", record)
    assert told.json == {"request_id": id_, "record": record, "answer": None}

    wait_until(lambda: curl(told.headers["location"]).status == 200)
    seen = curl(told.headers["location"])
    assert seen.headers["content-type"] == "application/json"
    assert seen.json | {"accepted_at": ""} == {
        "request_id": id_,
        "state": "SCHEDULED",
        "state_pt": "AGENDADA",
        "requester": "billing",
        "campaign_id": "c1",
        "channels": ["EMAIL", "SMS"],
        "lane": "CAMPAIGN",
        "due_at": iso(SOMEDAY_MS),
        "expires_at": None,
        "accepted_at": "",
        "recipients": 2,
        "counts": {"total": 4, "pending": 4, "skipped": 0, "cancelled": 0, "sent": 0},
        "skips": [],
        "cancels": [],
    }
    assert abs(instant_ms(seen.json["accepted_at"]) - time.time() * 1000) < 60_000
    assert id_ in [one["request_id"] for one in curl.find().json["requests"]]
    assert b"fatura" not in seen.body + curl.find().body

    stopped = curl.cancel(id_, *WAIT)
    assert stopped.status == 200
    answer = stopped.json["answer"]
    assert (answer["status"], answer["counts"]["messages_stopped"]) == ("CANCELLED", 4)
    again = curl.cancel(id_, *WAIT)
    assert (again.status, again.json["answer"]["status"]) == (200, "ALREADY_CANCELLED")
    assert again.json["record"] != stopped.json["record"]
    seen = curl(f"/v1/requests/{id_}")
    assert (seen.json["state"], seen.json["counts"]["cancelled"]) == ("CANCELLED", 4)
    assert next(cancel["status"] for cancel in seen.json["cancels"]) == "CANCELLED"


def test_an_id_is_given_to_who_sends_none(curl: Curl) -> None:
    ids = {curl.schedule().json["request_id"] for _ in range(2)}
    assert len(ids) == 2
    for id_ in ids:
        wait_until(lambda id_=id_: curl(f"/v1/requests/{id_}").status == 200)


def test_the_answer_can_be_waited_for(curl: Curl) -> None:
    id_ = str(uuid.uuid4())
    first = curl.schedule(*WAIT, id=id_)
    assert (first.status, first.headers["preference-applied"]) == (201, "wait=60")
    assert first.headers["location"] == f"/v1/requests/{id_}"
    assert first.json["answer"] == {
        "status": "ACCEPTED",
        "reason": None,
        "detail": None,
        "counts": {"recipients": 1, "messages": 1},
        "at": first.json["answer"]["at"],
    }
    again = curl.schedule(*WAIT, id=id_)
    assert (again.status, again.json["answer"]["status"]) == (200, "DUPLICATE")

    taken = curl.schedule(*WAIT, id=id_, lane="TRANSACTIONAL")
    assert (taken.status, taken.code) == (409, "id_taken")
    assert (taken.json["request_id"], taken.json["answer"]["status"]) == (id_, "REJECTED")
    late = curl.schedule(*WAIT, due_at="2020-01-01T09:00:00-03:00")
    assert (late.status, late.code) == (422, "due_in_the_past")
    assert late.json["record"]
    unknown = curl.cancel(str(uuid.uuid4()), *WAIT)
    assert (unknown.status, unknown.code) == (404, "unknown_request")
    assert unknown.json["answer"]["status"] == "UNKNOWN_REQUEST"


def test_what_is_no_request_is_refused_before_it_is_published(curl: Curl) -> None:
    options = "-H", "Content-Type: application/json", "-d"
    for body, status, code in (
        ("{", 400, "invalid_json"),
        ("", 400, "invalid_json"),
        ("[]", 422, "invalid_event"),
        (json.dumps(request(channels=["FAX"])), 422, "unknown_channel"),
        (json.dumps(request(due_at="tomorrow")), 422, "invalid_instant"),
    ):
        told = curl("/v1/requests", *options, body)
        assert (told.status, told.code) == (status, code)
        assert "record" not in told.json
    assert curl("/v1/requests", "-d", "{}").code == "unsupported_media_type"
    assert curl("/v1/requests", "-X", "DELETE").code == "method_not_allowed"
    assert curl("/v1/nothing").code == "unknown_path"


@pytest.fixture(scope="module")
def listed(curls: dict[str, Curl]) -> dict[str, str]:
    """Requests of which a list is made: their ids by what is special about each."""
    curl = curls["lists"]
    made = {
        "plain": accepted(curl),
        "push": accepted(curl, channels=["PUSH"], customers=[]),
        "urgent": accepted(curl, lane="TRANSACTIONAL"),
        "campaign": accepted(curl, campaign_id="black friday/ção"),
        "later": accepted(curl, due_at=iso(SOMEDAY_MS + HOUR_MS)),
        "cancelled": accepted(curl),
        "newest": accepted(curl),
    }
    assert curl.cancel(made["cancelled"], *WAIT).status == 200
    return made


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, {"plain", "push", "urgent", "campaign", "later", "cancelled", "newest"}),
        ({"requester": "lists", "channel": "PUSH"}, {"push"}),
        ({"state": "CANCELLED"}, {"cancelled"}),
        ({"state": "SENT"}, set()),
        ({"lane": "TRANSACTIONAL"}, {"urgent"}),
        ({"campaign_id": "black friday/ção"}, {"campaign"}),
        ({"due_from": iso(SOMEDAY_MS + 1)}, {"later"}),
        ({"due_from": SOMEDAY_MS + 1, "due_to": SOMEDAY_MS + HOUR_MS}, set()),
        ({"due_to": SOMEDAY_MS, "state": "SCHEDULED"}, set()),
        ({"channel": "SMS", "lane": "CAMPAIGN", "due_to": SOMEDAY_MS + 1, "state": "SCHEDULED"},
         {"plain", "campaign", "newest"}),
    ],
)  # fmt: skip
def test_a_list_by_each_filter(
    parameters: dict[str, Any], found: set[str], curls: dict[str, Curl], listed: dict[str, str]
) -> None:
    told = curls["lists"].find(**parameters)
    assert told.status == 200
    names = {id_: name for name, id_ in listed.items()}
    assert {names[one["request_id"]] for one in told.json["requests"]} == found
    assert told.json["next"] is None


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_a_cursor_leads_through_all_pages(
    limit: int, curls: dict[str, Curl], listed: dict[str, str]
) -> None:
    curl, found = curls["lists"], []
    cursor: dict[str, str] = {}
    while True:
        told = curl.find(limit=limit, **cursor).json
        assert len(told["requests"]) <= limit
        found += [one["request_id"] for one in told["requests"]]
        if told["next"] is None:
            break
        cursor = {"cursor": told["next"]}
    assert found == [*listed.values()][::-1]  # newest first


def test_a_list_that_cannot_be_read(curl: Curl) -> None:
    for wrong in (
        {"limit": 0},
        {"limit": 201},
        {"limit": "x"},
        {"cursor": "x"},
        {"state": "GONE"},
        {"due_from": "tomorrow"},
        {"password": "hunter2"},
    ):
        told = curl.find(**wrong)
        assert (told.status, told.code) == (400, "invalid_parameter")
        assert "hunter2" not in told.body.decode()


def test_what_is_pending_by_hour_and_channel(curls: dict[str, Curl]) -> None:
    curl = curls["hours"]
    hours = [SOMEDAY_MS + 100 * HOUR_MS, SOMEDAY_MS + 101 * HOUR_MS]
    for due_at, channels in (
        (hours[0], ["SMS"]),
        (hours[0] + 1, ["SMS", "EMAIL"]),
        (hours[1], ["SMS"]),
    ):
        accepted(curl, due_at=due_at, channels=channels, customers=[*PEOPLE])

    def told(name: str) -> set[tuple[str, str, int, int]]:
        rows = curls[name]("/v1/pending").json["pending"]
        return {(r["hour"], r["channel"], r["requests"], r["messages"]) for r in rows}

    expected = {
        (iso(hours[0]), "SMS", 2, 4),
        (iso(hours[0]), "EMAIL", 1, 2),
        (iso(hours[1]), "SMS", 1, 2),
    }
    assert told("hours") == expected
    assert told("operator") >= expected
    assert not told("reader") & expected


@pytest.mark.parametrize("how", ["data", "streamed"])
def test_many_lines_of_a_file(how: str, curls: dict[str, Curl], tmp_path: Path) -> None:
    """Good, bad and cancel lines; without waiting and then, sent again, with the answers."""
    curl, file = curls["bulk"], tmp_path / "requests.jsonl"
    ids = [str(uuid.uuid4()) for _ in range(50)]
    cancel = {"type": "saec.v1.CancelRequested", "id": ids[0]}
    past = request(id=str(uuid.uuid4()), due_at=0)
    lines = [*(request(id=id_) for id_ in ids), {"id": 1}, cancel, request(), past]
    file.write_text("\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    body = ("--data-binary", f"@{file}") if how == "data" else ("-X", "POST", "-T", str(file))
    options = ["-H", "Content-Type: application/x-ndjson", *body]
    if how == "streamed":
        options += ["-H", "Transfer-Encoding: chunked"]

    told = curl("/v1/requests", *options)
    assert told.status == 202
    assert (told.json["lines"], told.json["published"], told.json["refused"]) == (54, 52, 2)
    refusals = [(refusal["line"], refusal["code"]) for refusal in told.json["refusals"]]
    assert refusals == [(51, "invalid_id"), (53, "invalid_id")]

    told = curl("/v1/requests", *options, *WAIT)
    assert (told.status, told.headers["preference-applied"]) == (200, "wait=60")
    assert told.json["answers"] == {"DUPLICATE": 50, "ALREADY_CANCELLED": 1, "REJECTED": 1}
    assert told.json["unanswered"] == 0
    refusals = [(one["line"], one["code"]) for one in told.json["refusals"]]
    assert sorted(refusals) == [(51, "invalid_id"), (53, "invalid_id"), (54, "due_in_the_past")]
    assert told.json["refused"] == 3
    seen = {id_: curl(f"/v1/requests/{id_}").json["state"] for id_ in ids[:3]}
    assert [*seen.values()] == ["CANCELLED", "SCHEDULED", "SCHEDULED"]


def test_another_requesters_requests_are_out_of_reach(curls: dict[str, Curl]) -> None:
    other, id_ = curls["crm"], accepted(curls["billing"])
    unseen = other(f"/v1/requests/{id_}")
    assert (unseen.status, unseen.code) == (404, "unknown_request")
    nothing = other(f"/v1/requests/{uuid.uuid4()}")
    assert unseen.json == nothing.json, "it can be told that there is one"
    refused = other.find(requester="billing")
    assert (refused.status, refused.code) == (403, "scope_missing")
    assert id_ not in other.find(limit=200).body.decode()

    cancel = other.cancel(id_, *WAIT)
    assert (cancel.status, cancel.code) == (403, "other_requester")
    named = other.cancel(
        id_, "-H", "Content-Type: application/json", "-d", '{"requester":"billing"}'
    )
    assert (named.status, named.code) == (403, "other_requester")
    schedule = other.schedule(requester="billing")
    assert (schedule.status, schedule.code) == (403, "other_requester")
    taken = other.schedule(*WAIT, id=id_)
    assert (taken.status, taken.code) == (409, "id_taken")
    assert curls["billing"](f"/v1/requests/{id_}").json["state"] == "SCHEDULED"


def test_a_key_does_what_its_scopes_say(curls: dict[str, Curl]) -> None:
    id_ = accepted(curls["writer"])
    for name in ("billing", "reader", "operator"):
        assert curls[name](f"/v1/requests/{id_}").json["requester"] == "billing"
        found = curls[name].find(requester="billing", limit=200).json["requests"]
        assert id_ in [one["request_id"] for one in found]
    for told in (
        curls["writer"](f"/v1/requests/{id_}"),
        curls["writer"].find(),
        curls["writer"]("/v1/pending"),
        curls["reader"].schedule(),
        curls["reader"].cancel(id_),
        curls["operator"].schedule(requester="billing"),
        curls["operator"].cancel(id_),
    ):
        assert (told.status, told.code) == (403, "scope_missing")
    nobody = Curl(curls["billing"].served, curls["billing"].directory, "saec_")
    assert (nobody.find().status, nobody.find().code) == (401, "unauthenticated")


def test_what_was_scheduled_goes_out_once_and_cannot_be_cancelled_then(
    settings: Settings, curl: Curl, tmp_path: Path
) -> None:
    now = {"due_at": int(time.time() * 1000), "channels": ["EMAIL", "SMS"], "customers": [*PEOPLE]}
    ids = [accepted(curl, **now) for _ in range(3)]
    assert curl.schedule(*WAIT, id=ids[0], **now).json["answer"]["status"] == "DUPLICATE"
    stopped = accepted(curl, **now)
    assert curl.cancel(stopped, *WAIT).json["answer"]["status"] == "CANCELLED"

    engine = open_engine(settings.database_url)
    worker, installed = Worker(settings, engine, SystemClock()), Installed(settings, engine)
    due = "SELECT count(*) FROM pending WHERE due_at_ms < extract(epoch FROM now()) * 1000"
    drive(worker, until=lambda: installed.sql(due) == [(0,)])
    for id_ in ids:
        seen = curl(f"/v1/requests/{id_}").json
        assert (seen["state"], seen["counts"]["sent"]) == ("SENT", 4)
    late = curl.cancel(ids[0], *WAIT)
    assert (late.status, late.code) == (409, "too_late")
    assert late.json["answer"]["counts"]["messages_stopped"] == 0
    drive(worker, until=lambda: True)
    worker.close()

    assert installed.sent() == {
        (uuid.UUID(id_), channel, person): 1
        for id_ in ids
        for channel in ("EMAIL", "SMS")
        for person in PEOPLE
    }
    engine.dispose()
    with audit(settings, directory=tmp_path) as held:
        assert list(held.findings()) == []
        assert held.report is not None


def test_the_log_tells_of_each_change_and_of_no_content(curl: Curl) -> None:
    accepted(curl)
    changes = [line for line in curl.served.process.lines() if line["event"] == "change"]
    assert {line["level"] for line in curl.served.process.lines()} == {"info"}
    assert changes[-1]["outcome"] == "ACCEPTED"
    assert changes[-1]["requester"] == "billing"
    assert "fatura" not in curl.served.log
    assert curl.key[-64:] not in curl.served.log
