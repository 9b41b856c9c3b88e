"""`saec submit --http` and `saec cancel --http`: through a real endpoint, as through Kafka."""

import json
import re
import ssl
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import Result

from saec.cli import endpoint, over_http
from saec.contracts.decode import decode_request
from saec.contracts.events import CancelRequested
from saec.keys import Scope
from saec.settings import Settings
from tests.cli.conftest import Run, environment, whole_topic
from tests.http.endpoint import Served, make_key, serve
from tests.outages.single import Process
from tests.stack import Installations

ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
ONE = ["--channel", "PUSH", "--body", "Olá!", "--at", "+1h"]
# The same in every process: it stands in the names of tests.
SOME_KEY = "saec_" + "0" * 12 + "_" + "1" * 64
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def settings(installations: Installations) -> Iterator[Settings]:
    """The installation of all tests here: nothing of one is in the way of another."""
    with installations.make() as made:
        yield made


@pytest.fixture(scope="module")
def reading_key(settings: Settings) -> str:
    """A key that may not schedule."""
    return make_key(settings, "billing", (Scope.READ,))


@pytest.fixture(scope="module")
def served(
    settings: Settings, reading_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The endpoint, and SAEC behind it."""
    key = make_key(settings, "billing", (Scope.SCHEDULE,))
    log = tmp_path_factory.mktemp("http") / "endpoint.log"
    saec = Process("consumers.requests", settings, log.with_name("requests.log"))
    try:
        with serve(settings, log, key) as running:
            yield running
    finally:
        saec.stop()


@pytest.fixture
def by_http(saec: Run, served: Served) -> Iterator[Run]:
    """Runs `saec ARGS --http …` with a key; no Kafka and no PostgreSQL can be reached."""
    said: list[Result] = []

    def run(*args: str | Path, stdin: bytes | None = None, **env: str) -> Result:
        away = {"SAEC_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SAEC_DATABASE_URL": "postgresql://x:1/x"}
        given = away | {"SAEC_API_KEY": served.key or ""} | env
        said.append(saec(*args, "--http", served.url, stdin=stdin, **given))
        return said[-1]

    yield run
    assert not any("saec_" in result.output for result in said)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are repeated as often, but sooner."""
    monkeypatch.setattr(endpoint, "_AGAIN", endpoint._AGAIN.new(backoff_factor=0))


def request(**fields: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "channels": ["PUSH"],
        "due_at": "2027-12-01T09:00:00-03:00",
        "message": {"body": "Olá!", "content_type": "text/plain"},
    } | fields


def cancel(request_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "saec.v1.CancelRequested", "id": request_id} | fields


def lines(*values: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(value, ensure_ascii=False).encode() for value in values)


def published(settings: Settings, ids: set[str]) -> list[Any]:
    """The events of these requests on the topic."""
    records = whole_topic(settings, settings.topics.requests)
    events = [decode_request(value, None, 1_000_000) for _, value in records]
    assert [key for key, _ in records] == [str(event.id).encode() for event in events]
    return [event for event in events if str(event.id) in ids]


@dataclass
class Stranger:
    """A server that answers as it is told, and remembers what it was sent."""

    port: int
    seen: list[tuple[Message, bytes]] = field(default_factory=list)
    """Headers and bodies."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def stranger(
    answer: Callable[[int], Answer], context: ssl.SSLContext | None = None
) -> Iterator[Stranger]:
    """Such a server; `answer` is given how many requests came before."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.take()

        def do_GET(self) -> None:
            self.take()  # what a redirect would become

        def take(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, told = answer(len(it.seen))
            it.seen.append((self.headers, body))
            self.send_response(status)
            for name, value in ({"content-length": str(len(told))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        it = Stranger(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield it
        server.shutdown()
        thread.join()


def problem(status: int, code: str, **more: Any) -> Answer:
    told = {"type": f"urn:saec:problem:{code}", "status": status, "code": code, "detail": "why"}
    return status, {"content-type": "application/problem+json"}, json.dumps(told | more).encode()


def accepted(request_id: str = ID) -> Answer:
    told = {"request_id": request_id, "record": "saec.requests/0/0", "answer": None}
    return 202, {"content-type": "application/json"}, json.dumps(told).encode()


# As through Kafka


def test_one_is_published_in_the_name_of_the_key(by_http: Run, settings: Settings) -> None:
    request_id = str(uuid.uuid4())
    result = by_http("submit", *ONE, "--id", request_id)
    assert (result.exit_code, result.output) == (0, f"{request_id}\n")
    (event,) = published(settings, {request_id})
    assert (event.requester, event.message.body) == ("billing", "Olá!".encode())


@pytest.mark.parametrize("flags", [["--json"], []])
def test_the_output_is_that_of_kafka(
    by_http: Run, saec: Run, settings: Settings, flags: list[str]
) -> None:
    def told(run: Run, **env: str) -> str:
        """What is printed, with a word for each id and each instant."""
        first, second = request(requester="billing"), request(requester="billing")
        unknown = str(uuid.uuid4())
        stops = [cancel(one, requester="billing") for one in (second["id"], unknown)]
        values = lines(first, second, dict(first), *stops)
        result = run("submit", "-", "--wait", "30", *flags, stdin=values, **env)
        assert (result.exit_code, result.stderr) == (1, "")
        text = re.sub(r'"at":"[^"]+"', '"at":"…"', result.stdout)
        for name, request_id in (("1", first["id"]), ("2", second["id"]), ("3", unknown)):
            text = text.replace(request_id, name)
        return text

    ours, theirs = told(by_http), told(saec, **environment(settings))
    for status in ("ACCEPTED", "DUPLICATE", "CANCELLED", "UNKNOWN_REQUEST"):
        assert status in ours
    # Kafka's answers come in any order, those over HTTP in that of the lines.
    assert sorted(re.split(r"\n|(?<=}),|\[|]", ours)) == sorted(
        re.split(r"\n|(?<=}),|\[|]", theirs)
    )


def test_one_waits_for_its_answer_and_so_does_its_cancel(by_http: Run) -> None:
    request_id = str(uuid.uuid4())
    scheduled = by_http("submit", *ONE, "--id", request_id, "--wait", "30")
    assert (scheduled.exit_code, scheduled.stdout.split()[:2]) == (0, [request_id, "ACCEPTED"])
    assert by_http("submit", *ONE, "--id", request_id, "--wait", "30").exit_code == 1
    stopped = by_http("cancel", request_id, "--wait", "30", "--json")
    assert stopped.exit_code == 0, stopped.output
    (answer,) = json.loads(stopped.stdout)["answers"]
    assert (answer["status"], answer["counts"]["messages_stopped"]) == ("CANCELLED", 1)
    again = by_http("cancel", request_id, "--wait", "30")
    assert (again.exit_code, again.stdout.split()[1]) == (0, "ALREADY_CANCELLED")


def test_a_no_is_exit_code_1_and_told_with_its_reason(by_http: Run) -> None:
    unknown = by_http("cancel", ID, "--requester", "billing", "--wait", "30")
    assert (unknown.exit_code, unknown.stdout.split()) == (1, [ID, "UNKNOWN_REQUEST"])
    past = ["--channel", "PUSH", "--body", "x", "--at", "2020-01-01T00:00:00Z", "--id", ID]
    late = by_http("submit", *past, "--wait", "30")
    assert (late.exit_code, late.stdout.split()[:3]) == (1, [ID, "REJECTED", "due_in_the_past"])


@pytest.mark.parametrize("command", [["submit", *ONE, "--id", ID], ["cancel", ID]])
@pytest.mark.parametrize("wait", [[], ["--wait", "30"]])
def test_another_requester_than_the_keys_is_refused(
    by_http: Run, settings: Settings, command: list[str], wait: list[str]
) -> None:
    before = len(whole_topic(settings, settings.topics.requests))
    result = by_http(*command, "--requester", "somebody", *wait)
    assert result.exit_code == 1
    assert result.stdout.split()[:3] == [ID, "REJECTED", "other_requester"]
    assert len(whole_topic(settings, settings.topics.requests)) == before


def test_many_are_sent_in_several_calls_in_order(
    by_http: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_http, "LINES", 7)
    wanted = [request() for _ in range(30)]
    stops = [cancel(one["id"]) for one in wanted[::2]]
    result = by_http("submit", "-", stdin=lines(*wanted, *stops))
    assert result.exit_code == 0, result.output
    ids = [value["id"] for value in [*wanted, *stops]]
    assert sorted(result.stdout.split()) == sorted(ids)
    events = published(settings, set(ids))
    assert len(events) == 45
    assert {event.requester for event in events} == {"billing"}
    for one in wanted[::2]:
        kinds = [type(event) is CancelRequested for event in events if str(event.id) == one["id"]]
        assert kinds == [False, True]


@pytest.mark.parametrize("wait", [[], ["--wait", "30"]])
def test_refused_lines_are_named_and_the_others_published(
    by_http: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, wait: list[str]
) -> None:
    monkeypatch.setattr(over_http, "LINES", 3)
    wanted = [request() for _ in range(8)]
    for index in (1, 6):
        wanted[index]["requester"] = "somebody"
    result = by_http("submit", "-", "--json", *wait, stdin=lines(*wanted))
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    refused = {wanted[index]["id"] for index in (1, 6)}
    others = [one["id"] for one in wanted if one["id"] not in refused]
    assert (told["ids"], told["published"], told["failed"]) == (others, 6, 0)
    no = [answer for answer in told["answers"] if answer["status"] == "REJECTED"]
    assert {answer["request_id"] for answer in no} == refused
    assert {answer["reason"] for answer in no} == {"other_requester"}
    assert len(told["answers"]) == (8 if wait else 2)
    assert told.get("unanswered") == (0 if wait else None)
    assert {str(event.id) for event in published(settings, {*others, *refused})} == set(others)


def test_a_bad_line_and_nothing_is_sent(by_http: Run) -> None:
    bad = request(channels=["FAX"])
    result = by_http("submit", "-", stdin=lines(request(), bad), SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 2  # the key, which is unknown, was not tried
    assert "line 2: unknown_channel" in result.stderr


def test_a_requester_may_be_left_out_only_over_http(by_http: Run, here: Run) -> None:
    values = lines(request(), request())
    assert by_http("submit", "-", stdin=values).exit_code == 0
    by_kafka = here("submit", "-", stdin=values)
    assert by_kafka.exit_code == 2
    assert "requester: is missing" in by_kafka.stderr


@pytest.mark.parametrize("count", [1, 5])
def test_no_answer_in_time_is_exit_code_4(
    saec: Run,
    make_installation: Callable[..., Settings],
    tmp_path: Path,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(over_http, "LINES", 2)
    quiet = make_installation()  # nobody answers here
    key = make_key(quiet)
    values = [request() for _ in range(count)]
    with serve(quiet, tmp_path / "log", key) as running:
        result = saec(
            *("submit", "-", "--wait", "0.2", "--http", running.url, "--json"),
            stdin=lines(*values),
            SAEC_API_KEY=key,
        )
    assert result.exit_code == 4, result.output
    told = json.loads(result.stdout)
    assert (told["published"], told["unanswered"]) == (len(values), len(values))


def test_a_key_file_does_for_the_variable(by_http: Run, served: Served, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{served.key}\n")
    result = by_http("submit", *ONE, "--key-file", tmp_path / "key", SAEC_API_KEY="")
    assert result.exit_code == 0, result.output


# What goes wrong


@pytest.mark.parametrize("count", [1, 2])
def test_an_unknown_key_is_exit_code_3_with_what_to_do(by_http: Run, count: int) -> None:
    values = lines(*(request() for _ in range(count)))
    result = by_http("submit", "-", stdin=values, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: the endpoint refuses the API key")
    assert "`saec keys add`" in result.stderr
    assert result.stdout == ""


def test_a_key_that_may_not_schedule_is_exit_code_3(by_http: Run, reading_key: str) -> None:
    result = by_http("cancel", ID, SAEC_API_KEY=reading_key)
    assert result.exit_code == 3
    assert "--scope schedule" in result.stderr


def test_an_endpoint_that_is_away_is_exit_code_3_with_the_id(saec: Run) -> None:
    flags = ["--http", NOWHERE, "--json"]
    result = saec("submit", *ONE, *flags, "--id", ID, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    told = " ".join(result.stderr.split())
    assert "it takes no connections" in told
    assert f"with the same ids, from {ID} on" in told
    assert json.loads(result.stdout) == {"published": 0, "ids": [], "failed": 1}
    assert SOME_KEY not in result.output


def test_what_follows_a_broken_call_is_told_as_failed(
    saec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_http, "LINES", 2)
    values = [request() for _ in range(7)]
    taken = json.dumps({"lines": 2, "published": 2, "refused": 0, "refusals": []}).encode()

    def answer(number: int) -> Answer:
        if number == 0:
            return 202, {"content-type": "application/json"}, taken
        return problem(500, "internal_error")

    with stranger(answer) as it:
        result = saec(
            *("submit", "-", "--http", it.url, "--json"),
            stdin=lines(*values),
            SAEC_API_KEY=SOME_KEY,
        )
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert told == {"published": 2, "ids": [one["id"] for one in values[:2]], "failed": 5}
    assert len(it.seen) == 2
    assert values[2]["id"] in result.stderr


def test_what_kafka_did_not_acknowledge_of_a_call_is_told_as_failed(
    saec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [request() for _ in range(5)]
    refusal = {"line": 1, "request_id": None, "code": "other_requester", "detail": "why"}
    cut = problem(503, "kafka_unavailable", lines=5, refusals=[refusal], resend_from_line=4)
    with stranger(lambda _: cut) as it:
        result = saec(
            *("submit", "-", "--http", it.url, "--json"),
            stdin=lines(*values),
            SAEC_API_KEY=SOME_KEY,
        )
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert (told["ids"], told["failed"]) == ([one["id"] for one in values[1:3]], 2)
    assert [answer["request_id"] for answer in told["answers"]] == [values[0]["id"]]
    assert len(it.seen) == 5  # tried again before


@pytest.mark.parametrize("status", [429, 503])
def test_busy_is_tried_again_when_it_says_so(saec: Run, status: int) -> None:
    def answer(number: int) -> Answer:
        if number < 2:
            status_, headers, body = problem(status, "too_busy")
            return status_, headers | {"retry-after": "1"}, body
        return accepted()

    with stranger(answer) as it:
        result = saec("submit", *ONE, "--id", ID, "--http", it.url, SAEC_API_KEY=SOME_KEY)
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    bodies = [body for _, body in it.seen]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2] != b""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_with_the_key(saec: Run, status: int) -> None:
    with stranger(lambda _: accepted()) as elsewhere:
        away = (status, {"location": f"{elsewhere.url}/v1/requests"}, b"")
        with stranger(lambda _: away) as it:
            result = saec("submit", *ONE, "--http", it.url, SAEC_API_KEY=SOME_KEY)
    assert elsewhere.seen == []
    assert [headers["authorization"] for headers, _ in it.seen] == [f"Bearer {SOME_KEY}"]
    assert result.exit_code == 3
    assert "redirects" in result.stderr
    assert SOME_KEY not in result.output


@pytest.mark.parametrize(
    "told",
    [
        (200, {"content-type": "text/html"}, b"<html>"),
        (200, {"content-type": "application/json"}, b"{}"),
        (404, {"content-type": "text/html"}, b"<html>"),
        problem(404, "unknown_path"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_no_endpoint_is_told(saec: Run, told: Answer, count: int) -> None:
    values = lines(*(request() for _ in range(count)))
    with stranger(lambda _: told) as it:
        result = saec("submit", "-", "--http", it.url, stdin=values, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    assert "check --http" in result.stderr


def test_only_certificates_of_a_trusted_ca_are_taken(saec: Run, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with stranger(lambda _: accepted(), context) as it:
        url = it.url.replace("http://", "https://")
        flags = ["submit", *ONE, "--id", ID, "--http", url]
        unknown = saec(*flags, SAEC_API_KEY=SOME_KEY)
        known = saec(*flags, "--ca-file", tmp_path / "ca.pem", SAEC_API_KEY=SOME_KEY)
        elsewhere = url.replace("127.0.0.1", "localhost")  # another name than the certificate's
        wrong = ["submit", *ONE, "--http", elsewhere, "--ca-file", tmp_path / "ca.pem"]
        other_name = saec(*wrong, SAEC_API_KEY=SOME_KEY)
    assert (known.exit_code, known.stdout) == (0, f"{ID}\n")
    assert len(it.seen) == 1
    for result in (unknown, other_name):
        assert result.exit_code == 3
        assert "certificate is not accepted" in result.stderr


def test_https_where_there_is_none_is_told(saec: Run) -> None:
    with stranger(lambda _: accepted()) as it:
        url = it.url.replace("http://", "https://")
        result = saec("submit", *ONE, "--http", url, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    assert "one with http://?" in result.stderr


def test_an_answer_that_cannot_be_read_is_told(saec: Run) -> None:
    said = {"status": "ACCEPTED", "reason": None, "detail": None, "counts": {}, "at": "soon"}
    told = json.dumps({"record": "saec.requests/0/0", "answer": said}).encode()
    with stranger(lambda _: (201, {"content-type": "application/json"}, told)) as it:
        flags = ["--wait", "1", "--http", it.url]
        result = saec("submit", *ONE, *flags, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    assert "a later release" in result.stderr


# Wrong usage


@pytest.mark.parametrize(
    ("flags", "key", "advice"),
    [
        (["--http", NOWHERE], None, "saec keys add"),
        (["--http", NOWHERE], "saec_hunter2", "SAEC_API_KEY: not an API key"),
        (["--http", NOWHERE, "--key-file", "/none"], SOME_KEY, "No such file"),
        (["--http", NOWHERE, "--ca-file", "/none"], SOME_KEY, "--ca-file"),
        (["--http", "127.0.0.1:8090"], SOME_KEY, "http://127.0.0.1:8090"),
        (["--http", "ftp://a.example"], SOME_KEY, "https://"),
        (["--http", "https://"], SOME_KEY, "https://"),
        (["--http", "https://a.example/?x=hunter2"], SOME_KEY, "https://"),
        (["--http", "https://a b.example"], SOME_KEY, "https://"),
        (["--http", "https://me:hunter2@a.example"], SOME_KEY, "no user and password"),
        (["--http", "https://hunter2@a.example"], SOME_KEY, "no user and password"),
        (["--key-file", "/none"], SOME_KEY, "--http"),
        (["--ca-file", "/none"], SOME_KEY, "--http"),
    ],
)
@pytest.mark.parametrize("command", [["submit", *ONE], ["cancel", ID]])
def test_wrong_usage_says_what_to_do(
    saec: Run, command: list[str], flags: list[str], key: str | None, advice: str
) -> None:
    env = {} if key is None else {"SAEC_API_KEY": key}
    result = saec(*command, *flags, **env)
    assert result.exit_code == 2, result.output
    assert advice in result.stderr
    assert "hunter2" not in result.output
    assert SOME_KEY not in result.output


def warned(capsys: pytest.CaptureFixture[str], url: str) -> bool:
    assert SOME_KEY not in repr(endpoint.Access.of(url, None, None))
    return "use https://" in capsys.readouterr().err


def test_a_key_in_the_clear_is_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEC_API_KEY", SOME_KEY)
    for url in ("http://saec.invalid", "http://10.0.0.1:8090", "http://localhost.invalid"):
        assert warned(capsys, url)
    for url in ("https://saec.invalid", "http://localhost:1", "http://127.0.0.2", "http://[::1]:1"):
        assert not warned(capsys, url)


def test_who_lacks_the_package_is_told_which(saec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "saec.cli.over_http", None)
    result = saec("submit", *ONE, "--http", NOWHERE, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 3
    assert 'pip install "saec[http]"' in result.stderr


def test_calls_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_http, "_BYTES", 10)
    questions = [over_http.Question(str(n), b"x" * size) for n, size in enumerate([4, 4, 20, 1, 1])]
    sizes = [[len(q.value) for q in call] for call in over_http._divided(questions)]
    assert sizes == [[4, 4], [20], [1, 1]]


def test_after_one_was_waited_for_in_vain_the_others_are_not(
    saec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_http, "LINES", 2)
    told = json.dumps({"lines": 2, "refusals": [], "answered": [], "unanswered": 2}).encode()
    with stranger(lambda _: (200, {"content-type": "application/json"}, told)) as it:
        flags = ["--wait", "0.2", "--http", it.url]
        values = lines(*(request() for _ in range(6)))
        result = saec("submit", "-", *flags, stdin=values, SAEC_API_KEY=SOME_KEY)
    assert result.exit_code == 4
    assert [headers["prefer"] for headers, _ in it.seen] == ["wait=1", None, None]


def test_more_than_a_minute_is_not_waited(saec: Run) -> None:
    with stranger(lambda _: accepted()) as it:
        flags = ["--wait", "61", "--http", it.url]
        result = saec("submit", *ONE, *flags, SAEC_API_KEY=SOME_KEY)
    assert "60 s at most" in result.stderr
    assert result.exit_code == 4
