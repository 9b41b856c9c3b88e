"""What the part `http` counts, and how it holds that against the topic."""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench import guard
from bench.http import part, wrk
from bench.http.away import Instants, by_second, kept, told, wrong
from bench.http.bodies import NO_ID, bodies
from bench.http.calls import BROKEN, Answer, calling
from bench.http.counted import held
from bench.http.endpoints import SAEC, Running
from bench.http.wrk import Load, WrkError, loaded
from bench.instants import pause
from bench.meter import Meter
from bench.workload import REQUESTER
from saec.http.questions import of_request

LOAD = {"answered": 20_000, "us": 2_000_000, "p50_us": 9_000, "p99_us": 31_000, "max_us": 40_000}
WELL = {**LOAD, "refused": 0, "broken": 0}
MOST_BYTES = 1_000
YES, NO = HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE


def output(load: Any) -> str:
    return f"Running 2s test\n  1 threads and 64 connections\n\n{json.dumps(load)}\n"


def test_the_last_line_of_wrk_is_what_its_script_counted() -> None:
    load = Load.of(output(WELL))
    assert (load.answered, load.p99_us, load.seconds) == (20_000, 31_000, 2.0)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        output(LOAD),
        output([]),
        output({**WELL, "refused": 1}),
        output({**WELL, "broken": 1}),
        output({**WELL, "answered": 0}),
    ],
)
def test_a_load_that_did_not_go_well_is_worth_nothing(said: str) -> None:
    with pytest.raises(WrkError):
        Load.of(said)


@pytest.mark.parametrize(
    ("records", "missing", "unexpected"), [(99, 1, 0), (100, 0, 0), (164, 0, 0), (165, 0, 1)]
)
def test_answers_are_held_against_records_but_for_what_was_on_its_way(
    records: int, missing: int, unexpected: int
) -> None:
    seen = held(100, records, 2.0, on_their_way=64)
    assert (seen.missing, seen.unexpected, seen.rate) == (missing, unexpected, 50)
    assert seen.exact is (not missing and not unexpected)


def test_each_body_is_valid_and_has_its_own_id() -> None:
    made = list(bodies(3))
    assert len({id_ for id_, _ in made} - {NO_ID}) == 3
    for id_, body in made:
        assert of_request(body, REQUESTER, MOST_BYTES).request_id == id_


def answers(*of: tuple[str, float, float, int]) -> list[Answer]:
    return [Answer(id_, due, at, status, status == NO) for id_, due, at, status in of]


OUTAGE = answers(
    ("a", 0.0, 0.1, YES),
    ("b", 0.9, 11.5, NO),  # under way when Kafka was killed
    ("c", 5.0, 11.6, NO),
    ("d", 20.5, 20.9, YES),
    ("e", 21.0, 21.2, YES),
)
AT = Instants(began_s=0.0, killed_s=1.0, started_s=20.0, back_s=20.7)


def test_what_was_answered_yes_is_in_the_topic_once() -> None:
    assert kept(OUTAGE, Counter("ade")).exact


def test_what_was_answered_no_may_be_in_the_topic() -> None:
    records = Counter("abde")
    assert kept(OUTAGE, records).exact
    assert told(OUTAGE, records, AT)["503 but in the topic"] == 1


def test_what_is_not_in_the_topic_or_twice_or_nobodys_is_found() -> None:
    seen = kept(OUTAGE, Counter("addx"))
    assert (seen.missing, seen.duplicate, seen.unexpected) == (1, 1, 1)


def test_an_outage_is_told_by_its_phases() -> None:
    measured = told(OUTAGE, Counter("ade"), AT)
    assert (measured["202"], measured["503"], measured["others"]) == (3, 2, 0)
    assert measured["before, p99_ms"] == pytest.approx(100)
    assert measured["away, p99_ms"] == pytest.approx(10_600)
    assert measured["after, p99_ms"] == pytest.approx(200)
    assert measured["first 503 after, s"] == pytest.approx(10.5)
    assert measured["Kafka started in, s"] == pytest.approx(0.7)
    assert measured["first 202 after the start, s"] == pytest.approx(0.9)
    assert wrong(measured) == []


def test_what_never_came_has_no_instant() -> None:
    measured = told([OUTAGE[0], OUTAGE[-1]], Counter("ae"), AT)
    assert measured["first 503 after, s"] is None
    assert measured["away, p99_ms"] is None


def test_what_no_caller_should_see_is_named() -> None:
    silent = Answer("f", 6.0, 12.0, NO, retry_after=False)
    broken = Answer("g", 6.0, 12.0, BROKEN, retry_after=False)
    found = wrong(told([*OUTAGE, silent, broken], Counter("ade"), AT))
    assert found == ["Kafka away, others: 1", "Kafka away, 503 without Retry-After: 1"]


def test_seconds_without_an_answer_are_shown_too() -> None:
    every = by_second(answers(("a", 5, 5.5, YES), ("b", 5, 8.0, NO), ("c", 5, 8.9, 500)), 5.0)
    assert every == [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 1, 1)]


class Endpoint(ThreadingHTTPServer):
    """Remembers what is posted; says 202, or once it is `away` 503."""

    away = False
    slow_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    @property
    def running(self) -> Running:
        return Running(SAEC, 0, self.server_address[1], None, "k")  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(json.loads(body))
        self.server.keys.add(self.headers["Authorization"])
        pause(self.server.slow_s)
        self.send_response(NO if self.server.away else YES)
        if self.server.away:
            self.send_header("Retry-After", "5")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_calls_keep_their_rate_and_tell_what_came_of_each(endpoint: Endpoint) -> None:
    with calling(endpoint.running, 200, 4) as calls:
        pause(0.5)
        endpoint.away = True
        pause(0.5)
    made = calls.answers
    assert 150 <= len(made) <= 210
    assert {one.id_ for one in made} == {one["id"] for one in endpoint.posted}
    assert len({one.id_ for one in made}) == len(made)
    assert {(one.status, one.retry_after) for one in made} == {(YES, False), (NO, True)}
    assert endpoint.keys == {"Bearer k"}


def test_a_call_that_waits_for_a_connection_counts_as_slow(endpoint: Endpoint) -> None:
    endpoint.slow_s = 0.1
    with calling(endpoint.running, 100, 1) as calls:
        pause(0.1)
    assert len(calls.answers) >= 5
    assert max(one.wait_ms for one in calls.answers) > 250


def test_a_call_that_comes_to_nothing_is_told() -> None:
    with Endpoint() as closed:
        gone = closed.running
    with calling(gone, 100, 2) as calls:
        pause(0.1)
    assert {one.status for one in calls.answers} == {BROKEN}


@pytest.mark.skipif(not wrk.is_here(), reason=wrk.MISSING)
def test_wrk_posts_valid_requests_each_with_an_id_of_its_own(endpoint: Endpoint) -> None:
    meter = Meter()  # it does not look by itself: wrk must be there to be weighed at the end
    loads = [loaded(endpoint.running, 4, 1, meter) for _ in range(2)]
    ids = [uuid.UUID(one["id"]) for one in endpoint.posted]
    answered = sum(load.answered for load, _ in loads)
    assert answered <= len(ids) <= answered + 2 * 4
    assert len(set(ids)) == len(ids)
    assert {(id_.version, id_.variant) for id_ in ids} == {(4, uuid.RFC_4122)}
    posted = json.dumps(endpoint.posted[0]).encode()
    assert of_request(posted, REQUESTER, MOST_BYTES).request_id == str(ids[0])
    assert endpoint.keys == {"Bearer k"}
    assert all(weights["wrk"].cpu_s > 0 for _, weights in loads)


@pytest.mark.skipif(not wrk.is_here(), reason=wrk.MISSING)
def test_wrk_counts_what_was_refused(endpoint: Endpoint) -> None:
    endpoint.away = True
    with Meter() as meter, pytest.raises(WrkError):
        loaded(endpoint.running, 4, 1, meter)


def test_the_guard_goes_on_without_wrk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not guard._can_run(part.PART)
    with Meter() as meter, pytest.raises(WrkError, match="apt-get install wrk"):
        loaded(Running(SAEC, 0, 1, None, None), 1, 1, meter)  # type: ignore[arg-type]
