"""What strangers, and those who have a key, may try over HTTP.

No answer is a 500, every error is a problem, and nothing that was sent comes back or is logged.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from typing import Any, cast
from uuid import uuid4

import pytest
from aiolimiter import AsyncLimiter
from starlette.requests import Request

from saec import keys as keys_module
from saec.clock import SystemClock
from saec.http.door import SPARE
from saec.http.endpoint import Endpoint, Reader
from saec.http.keyring import Holder, Keyring
from saec.http.liveness import is_alive
from saec.http.problems import Problem
from saec.kafka.follow import Beginning, read_whole
from saec.keys import Scope, new_key
from saec.settings import Settings
from saec.store.engine import open_engine, transaction
from saec.store.keys import KeyRow
from tests.http.endpoint import Served, answering, make_key, serve
from tests.http.wire import HANGS_S, HOST, chunked, head, memory_mb, post, pour, say
from tests.outages.grounds import wait_until

CONNECTIONS = 60
MARKER = "Quixabeira"  # in everything that is sent; tests/privacy.py looks for it too
FREE = 1_000_000  # requests a second
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"
CHUNKED = "Transfer-Encoding: chunked"
DAY_MS = 86_400_000
# What is ended here is ended for what it says, and not because it takes long.
PATIENT = " ".join(
    f"saec.http.{bound}=600"
    for bound in (
        "protocol.HEAD_S",
        "bodies.WHOLE_S",
        "bodies.PAUSE_S",
        "preferences.LONGEST_WAIT_S",
    )
)


def event(**changed: Any) -> dict[str, Any]:
    """A request to come."""
    return {
        "channels": ["PUSH"],
        "due_at": int(time.time() * 1000) + DAY_MS,
        "lane": "CAMPAIGN",
        "message": {"body": "x", "content_type": "text/plain"},
    } | changed


def json_bytes(value: Any) -> bytes:
    """As it is sent."""
    return json.dumps(value).encode()


def jsonl(values: Sequence[Any]) -> bytes:
    """A line each."""
    return b"\n".join(map(json_bytes, values))


def key_id(text: str) -> str:
    """What of a key is no secret."""
    return text.split("_")[1]


def records(settings: Settings) -> list[tuple[dict[str, bytes], dict[str, Any]]]:
    """All that was published: headers and values."""
    found = read_whole(settings, [settings.topics.requests], Beginning())
    return [(dict(one.headers or ()), json.loads(one.value or b"")) for one in found]


def _spoil(settings: Settings, key: str, change: str) -> None:
    engine = open_engine(settings.database_url)
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"UPDATE keys SET {change} WHERE key_id = '{key_id(key)}'")
    engine.dispose()


@dataclass(frozen=True)
class Keys:
    """Whoever has something to try."""

    ana: str
    bia: str
    reader: str
    operator: str
    revoked: str
    expired: str
    waiting: str


@pytest.fixture(scope="module")
def keys(settings: Settings) -> Keys:
    """Ana and Bia are requesters; the reader may only read what is Ana's.

    Who waits for an answer has a key of their own: their requests stay under way.
    """
    both = (Scope.SCHEDULE, Scope.READ)
    made = Keys(
        make_key(settings, "ana", both, FREE),
        make_key(settings, "bia", both, FREE),
        make_key(settings, "ana", (Scope.READ,), FREE),
        make_key(settings, "ops", (Scope.OPERATE,), FREE),
        make_key(settings, "ana", both),
        make_key(settings, "ana", both),
        make_key(settings, "ana", both, FREE),
    )
    _spoil(settings, made.revoked, "revoked_at_ms = 1")
    _spoil(settings, made.expired, "expires_at_ms = created_at_ms + 1")
    return made


@pytest.fixture(scope="module")
def served(
    settings: Settings, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The endpoint, which at the end has said nothing that it should not."""
    log = tmp_path_factory.mktemp("attacks") / "endpoint.log"
    chosen = {"SAEC_HTTP_CONNECTIONS": str(CONNECTIONS), "BOUNDS": PATIENT}
    with serve(settings, log, keys.ana, **chosen) as running:
        yield running
        assert running.get("/v1/health", key="").json == {"status": "ok"}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warned = [line for line in lines if line["level"] != "info"]
    assert {line["event"] for line in warned} == {"connections are closed for newcomers"}
    assert MARKER not in log.read_text()


def test_nobody_reaches_what_is_another_requesters(
    served: Served, settings: Settings, keys: Keys
) -> None:
    with answering(settings):
        mine = served.post("/v1/requests", event(), prefer="wait=60")
        assert mine.status == 201, mine
        one = mine.json["request_id"]
        seen = served.get(f"/v1/requests/{one}", keys.bia)
        assert (seen.status, seen.body) == (404, served.get(f"/v1/requests/{uuid4()}").body)
        assert served.get("/v1/requests", keys.bia).json["requests"] == []
        assert served.get("/v1/pending", keys.bia).json == {"pending": []}
        assert served.get("/v1/requests?requester=ana", keys.bia).code == "scope_missing"

        cancel = f"/v1/requests/{one}/cancel"
        stopped = served.post(cancel, key=keys.bia, prefer="wait=60")
        assert (stopped.status, stopped.code) == (403, "other_requester")
        in_her_name = served.post(cancel, {"requester": "ana"}, keys.bia)
        assert (in_her_name.status, in_her_name.code) == (403, "other_requester")
        scheduled = served.post("/v1/requests", event(requester="ana"), keys.bia)
        assert (scheduled.status, scheduled.code) == (403, "other_requester")
        taken = served.post("/v1/requests", event(id=one), keys.bia, prefer="wait=60")
        assert (taken.status, taken.code) == (409, "id_taken")
        lines = [
            event(id=str(uuid4()), requester="ana"),
            {"type": "saec.v1.CancelRequested", "id": one, "requester": "ana"},
            event(id=str(uuid4()), requester="ana\r\nsaec-key: 000000000000"),
        ]
        bulk = served.post("/v1/requests", jsonl(lines), keys.bia, content_type="application/jsonl")
        assert (bulk.json["published"], bulk.json["refused"]) == (0, 3)
        codes = [refusal["code"] for refusal in bulk.json["refusals"]]
        assert codes == ["other_requester", "other_requester", "invalid_event"]

        assert served.get(f"/v1/requests/{one}").json["state"] == "SCHEDULED"
        assert served.get(f"/v1/requests/{one}", keys.operator).status == 200
        assert served.get("/v1/requests?requester=ana", keys.operator).status == 200
        assert served.get("/v1/pending", keys.operator).status == 200
        reads = [
            line for line in map(json.loads, served.log.splitlines()) if line["event"] == "read"
        ]
        assert [(line["what"], line["request_id"]) for line in reads] == [
            ("request", one),
            ("requests", None),
            ("pending", None),
        ]
        assert {line["key"] for line in reads} == {key_id(keys.operator)}
    whose = {key_id(keys.ana): "ana", key_id(keys.bia): "bia"}
    for headers, value in records(settings):
        assert whose[headers["saec-key"].decode()] == value["requester"]


def test_a_key_that_may_only_read_changes_nothing(
    served: Served, settings: Settings, keys: Keys
) -> None:
    before = len(records(settings))
    for key in (keys.reader, keys.operator):
        assert served.post("/v1/requests", event(), key).code == "scope_missing"
        assert served.post(f"/v1/requests/{uuid4()}/cancel", key=key).code == "scope_missing"
        bulk = served.post("/v1/requests", b"{}", key, content_type="application/jsonl")
        assert bulk.code == "scope_missing"
    assert len(records(settings)) == before


def test_a_forged_key_opens_nothing(served: Served, keys: Keys) -> None:
    text = keys.ana
    forged = [
        *("", MARKER, "Bearer", "Bearer ", f"Basic {text}", text, f"Bearer{text}"),
        *(f"Bearer {wrong}" for wrong in (text[:-1], text + "0", text.upper(), f"{text},{text}")),
        f"Bearer {text[:-1]}{'0' if text[-1] != '0' else '1'}",
        f"Bearer {text.replace('saec', 'SAEC')}",
        f"Bearer {text[:17]}_{keys.bia[18:]}",
        f"Bearer {new_key()[0]}",
        *(f"Bearer {spent}" for spent in (keys.revoked, keys.expired)),
    ]
    for authorization in forged:
        told = served.call("GET", "/v1/pending", key="", authorization=authorization)
        assert (told.status, told.code) == (401, "unauthenticated"), authorization
        assert told.headers["www-authenticate"].startswith("Bearer")
        assert told.body == b"" or text[18:40].encode() not in told.body
    twice = f"Authorization: Bearer {text}"
    for pair in ([twice, twice], [twice, "Authorization: x"], ["authorization: x", twice]):
        heard = say(served.port, head("GET", "/v1/pending", *pair, CLOSE))
        assert (heard.statuses, heard.codes) == ([401], ["unauthenticated"])


def test_a_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    assert not keys_module.matches("ab", keys_module.hash_of("ab"))
    assert compared == [(keys_module.hash_of("ab"),) * 2]


def test_unknown_keys_that_come_together_cost_one_look() -> None:
    looks = 0

    async def load() -> tuple[int, Sequence[KeyRow]]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return 0, []

    async def come(keyring: Keyring) -> None:
        bearer = b"authorization", f"Bearer {new_key()[0]}".encode()
        with pytest.raises(Problem, match="unauthenticated"):
            async with keyring.admitted(Request({"type": "http", "headers": [bearer]}), Scope.READ):
                pass

    async def all_come() -> None:
        keyring = Keyring(load, SystemClock(), 1, 1)
        await asyncio.gather(*(come(keyring) for _ in range(100)))

    asyncio.run(all_come())
    assert looks == 1


# What is no HTTP/1.1 that everybody reads alike. A proxy may read it another way than we do.
_TWO = "Content-Length: 2"
NOT_HTTP = {
    "both lengths": head("POST", "/v1/requests", JSON, _TWO, CHUNKED) + b"0\r\n\r\n",
    "both lengths, the other way": head("POST", "/", CHUNKED, "Content-Length: 5") + b"0\r\n\r\n",
    "two lengths": head("POST", "/v1/requests", JSON, _TWO, "Content-Length: 3") + b"{}x",
    "the same length twice": head("POST", "/v1/requests", JSON, _TWO, _TWO) + b"{}",
    "a list of lengths": head("POST", "/v1/requests", "Content-Length: 2, 2") + b"{}",
    "a length with a sign": head("POST", "/v1/requests", "Content-Length: +2") + b"{}",
    "a negative length": head("POST", "/v1/requests", "Content-Length: -1") + b"{}",
    "a length beyond all": head("POST", "/v1/requests", f"Content-Length: {'9' * 40}") + b"{}",
    "nearly chunked": head("POST", "/", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked, but not last": head("POST", "/", "Transfer-Encoding: chunked, x") + b"0\r\n\r\n",
    "chunked twice": head("POST", "/", CHUNKED, CHUNKED) + b"0\r\n\r\n",
    "a folded header": head("GET", "/v1/health", f"X-A: 1\r\n {MARKER}: 2"),
    "line feeds alone": head("GET", "/v1/health").replace(b"\r\n", b"\n"),
    "one line feed alone": b"GET /v1/health HTTP/1.1\r\nHost: x\nX-A: 1\r\n\r\n",
    "a carriage return alone": b"GET /v1/health HTTP/1.1\r\nHost: x\rX-A: 1\r\n\r\n",
    "a space before the colon": head("GET", "/v1/health", "X-A : 1"),
    "a space before the length": head("POST", "/", "Content-Length : 2") + b"{}",
    "chunks ended by line feeds": head("POST", "/", CHUNKED) + b"2\n{}\n0\n\n",
    "a chunk beyond all": head("POST", "/", CHUNKED) + b"f" * 17 + b"\r\n{}",
    "a negative chunk": head("POST", "/", CHUNKED) + b"-2\r\n{}\r\n0\r\n\r\n",
    "a null in a header": head("GET", "/v1/health", f"X-A: {MARKER}\0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": b"GET /v1/health HTTP/3.0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "CONNECT": head("CONNECT", f"{MARKER}:80") + b"hello",
    "no such method": head("FOO", "/v1/health"),
    "a long method": head("F" * 5_000, "/v1/health"),
    "no slash": head("GET", "v1/health"),
    "a space in the target": head("GET", f"/v1/health {MARKER}"),
    "not ASCII in the target": head("GET", "/v1/\xe9"),
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_plainly_http_is_refused_and_closed(served: Served, name: str) -> None:
    heard = say(served.port, NOT_HTTP[name] + head("GET", f"/v1/{MARKER}"))
    # One answer: nothing of it was taken for a request of its own.
    assert (heard.statuses, heard.codes, heard.is_closed) == ([400], ["invalid_http"], True)
    assert MARKER.encode() not in heard.raw


def test_old_and_odd_http_is_answered_once(served: Served, keys: Keys) -> None:
    health = b"GET /v1/health HTTP/1.0\r\n\r\n"
    for odd in (
        health,
        health.replace(b" HTTP/1.0", b""),
        head("GET", "http://x/v1/health", CLOSE),
    ):
        assert say(served.port, odd).statuses == [200], odd
    ext = (
        head("POST", "/v1/requests", JSON, CHUNKED, CLOSE, key=keys.ana)
        + b"2;a=b\r\n{}\r\n0\r\n\r\n"
    )
    assert say(served.port, ext).codes == ["unknown_channel"]
    # The body of a GET is no request, and neither is what comes behind `close`.
    inner = head("GET", f"/v1/{MARKER}")
    length = f"Content-Length: {len(inner)}"
    both = head("GET", "/v1/health", length) + inner + head("GET", "/v1/health", CLOSE)
    assert say(served.port, both).statuses == [200, 200]
    assert say(served.port, head("GET", "/v1/health", CLOSE) + inner).statuses == [200]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", MARKER])
def test_an_offered_upgrade_is_passed_over_and_the_body_stays_a_body(
    served: Served, keys: Keys, protocol: str
) -> None:
    """Java's HttpClient offers h2c with each request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AA")
    inner = head("GET", "/v1/health")
    smuggled = post(keys.ana, inner, *offer)
    cut, last = len(smuggled) - len(inner), head("GET", "/v1/health", CLOSE)
    for parts in ((smuggled,), (smuggled[:cut], smuggled[cut:]), (smuggled[:30], smuggled[30:])):
        heard = say(served.port, *parts, last, pause_s=0.1)
        assert (heard.statuses, heard.codes) == ([400, 200], ["invalid_json"])
    last = head("GET", "/v1/health", CLOSE)
    taken = say(served.port, post(keys.ana, json_bytes(event()), *offer), last, pause_s=0.1)
    assert taken.statuses == [202, 200]
    pieces = head("POST", "/v1/requests", JSON, CHUNKED, *offer, key=keys.ana)
    heard = say(served.port, pieces, chunked([json_bytes(event())]) + b"0\r\n\r\n", last)
    assert heard.statuses == [202, 200]


def test_trailers_are_no_headers(served: Served, keys: Keys) -> None:
    body = chunked([json_bytes(event())]) + b"0\r\n"
    bearer = f"Authorization: Bearer {keys.ana}\r\n\r\n".encode()
    keyless = head("POST", "/v1/requests", JSON, CHUNKED, CLOSE)
    assert say(served.port, keyless + body + bearer).statuses == [401]
    second = head("POST", "/v1/requests", JSON, CHUNKED, CLOSE, key=keys.ana)
    assert say(served.port, second + body + bearer).statuses == [202]


def test_requests_sent_ahead_are_answered_in_turn_or_not_at_all(served: Served, keys: Keys) -> None:
    few = head("GET", "/v1/health") + head("GET", "/v1/nothing")
    heard = say(served.port, few * 20 + head("GET", "/v1/health", CLOSE))
    assert heard.statuses == [200, 404] * 20 + [200]
    waiting = post(keys.waiting, json_bytes(event()), "Prefer: wait=600")
    for junk in (
        b"junk\r\n\r\n",
        head("GET", "/v1/health") * 500,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000,
    ):
        # An answer to the junk would be taken for the one to the request before it.
        heard = say(served.port, waiting, junk, pause_s=0.2)
        assert (heard.raw, heard.is_closed) == (b"", True)
    assert served.get("/v1/health").status == 200


def _endless(key: str, waits: str) -> dict[str, tuple[bytes, bytes]]:
    """What never ends: how it begins, and how it goes on."""
    asked = head("POST", "/v1/requests", JSON, CHUNKED, key=key)
    stranger = head("POST", "/v1/requests", JSON, CHUNKED)
    lines = head("POST", "/v1/requests", "Content-Type: application/jsonl", CHUNKED, key=key)
    cancel = head("POST", f"/v1/requests/{uuid4()}/cancel", CHUNKED, key=key)
    waiting = post(waits, json_bytes(event()), "Prefer: wait=600")
    spaces, trailer = chunked([b" " * 60_000]), b"a: bcdefgh\r\n" * 5_000
    return {
        "header": (b"GET / HTTP/1.1\r\nX: ", b"a" * 60_000),
        "headers": (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
        "target": (b"GET /", b"a" * 60_000),
        "second head": (waiting + b"GET / HTTP/1.1\r\nX: ", b"a" * 4_096),
        "body": (asked, spaces),
        "body of a stranger": (stranger, spaces),
        "body of a cancel": (cancel, spaces),
        "body of a GET": (head("GET", "/v1/health", CHUNKED), spaces),
        "body of tiny chunks": (asked, chunked([b" "] * 10_000)),
        "chunk extension": (asked + b"1;", b"a" * 60_000),
        "trailers": (asked + b"0\r\n", trailer),
        "trailers of a stranger": (stranger + b"0\r\n", trailer),
        "line": (lines, chunked([b"a" * 60_000])),
        "empty lines": (lines, chunked([b"\n" * 60_000])),
        "bad lines": (lines, chunked([b"{}\n" * 20_000])),
        "requests ahead": (b"", head("GET", "/v1/health") * 2_000),
        "requests behind one that waits": (waiting, b"GET / HTTP/1.1\r\n\r\n" * 4_000),
    }


@pytest.mark.parametrize("name", _endless("", ""))
def test_what_never_ends_is_ended_and_takes_no_memory(
    served: Served, keys: Keys, name: str
) -> None:
    before_mb = memory_mb(served.process.child.pid)
    begins, goes_on = _endless(keys.ana, keys.waiting)[name]
    heard = pour(served.port, begins, goes_on, for_s=HANGS_S)
    assert heard.is_closed
    assert heard.after_s < HANGS_S
    assert memory_mb(served.process.child.pid) - before_mb < 30


def test_a_flood_of_connections_keeps_nobody_out(served: Served, keys: Keys) -> None:
    """Neither a key nor the health check; who said nothing leaves first, and is told so."""
    files = Path(f"/proc/{served.process.child.pid}/fd")
    before = len(list(files.iterdir()))
    with ExitStack() as flood:
        silent = [
            flood.enter_context(create_connection((HOST, served.port), timeout=60))
            for _ in range(10 * CONNECTIONS)
        ]
        assert served.get("/v1/pending", keys.ana).status == 200
        assert is_alive(served.settings.model_copy(update={"http_port": served.port}))
        assert len(list(files.iterdir())) <= before + CONNECTIONS + SPARE
        # Some left before anything could be said to them.
        told = [wire.recv(65_536) for wire in silent[: 8 * CONNECTIONS]]
        heard = [one for one in told if one]
        assert len(heard) > CONNECTIONS
        for one in heard:
            assert one.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in one.lower()
            assert b"too_busy" in one


def test_who_has_keys_cannot_keep_the_health_check_out(served: Served, keys: Keys) -> None:
    """However much is under way, with however many keys."""
    waiting = head("POST", "/v1/requests", JSON, "Content-Length: 1000000", key=keys.ana)
    others = waiting.replace(keys.ana.encode(), keys.bia.encode())
    with ExitStack() as flood:

        def is_full() -> bool:
            for one in (waiting, others):
                for _ in range(CONNECTIONS // 2):
                    wire = flood.enter_context(create_connection((HOST, served.port)))
                    wire.sendall(one)
            return served.get("/v1/pending", keys.operator).status == 503

        wait_until(is_full)
        assert is_alive(served.settings.model_copy(update={"http_port": served.port}))


def test_one_key_does_not_keep_the_others_from_bulk_calls(served: Served, keys: Keys) -> None:
    lines = ("Content-Type: application/jsonl", CHUNKED, "Expect: 100-continue")
    with ExitStack() as held:
        for _ in range(4):
            wire = held.enter_context(create_connection((HOST, served.port), timeout=HANGS_S))
            wire.sendall(head("POST", "/v1/requests", *lines, key=keys.ana))
            assert wire.recv(65_536).startswith(b"HTTP/1.1 100 ")
        line = json_bytes(event(id=str(uuid4())))
        fifth = served.post("/v1/requests", line, content_type="application/jsonl")
        assert (fifth.status, fifth.code) == (429, "too_many_requests")
        assert fifth.headers["retry-after"] == "1"
        other = served.post("/v1/requests", line, keys.bia, content_type="application/jsonl")
        assert (other.status, other.json["published"]) == (202, 1)


def test_a_revoked_key_ends_the_calls_that_it_opened_before(
    served: Served, settings: Settings
) -> None:
    key = make_key(settings, "ana", rate=FREE)
    wait_until(lambda: served.get("/v1/pending", key).status == 200)
    one = chunked([json_bytes(event(id=str(uuid4()))) + b"\n"])
    with create_connection((HOST, served.port), timeout=60) as wire:
        lines = "Content-Type: application/jsonl"
        wire.sendall(head("POST", "/v1/requests", lines, CHUNKED, key=key) + one)
        before = len(records(settings))
        _spoil(settings, key, "revoked_at_ms = 1")
        wait_until(lambda: served.get("/v1/pending", key).status == 401)
        told = bytearray(wire.recv(65_536))  # though nothing more is sent, and the body has no end
        while piece := wire.recv(65_536):
            told += piece
    assert told.startswith(b"HTTP/1.1 401 "), told
    assert b'"published": 1' in told
    assert len(records(settings)) <= before + 1


def test_one_key_does_not_keep_the_others_from_reading(settings: Settings) -> None:
    """Were it to, the other one would not come before the others of this one are done."""
    done = threading.Event()

    async def read_meanwhile(reader: Reader) -> list[bool]:
        nobody = cast("Any", None)
        point = Endpoint(settings, nobody, nobody, nobody, reader)
        greedy, other = (Holder(cast("Any", name), AsyncLimiter(1)) for name in "ab")
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(point.read(greedy, lambda _: done.wait(HANGS_S)))
                for _ in range(12)
            ]
            await asyncio.sleep(0.1)
            await point.read(other, lambda _: done.set())
        return [one.result() for one in asked]

    engine = open_engine(settings.database_url)
    reader = Reader(engine)
    assert all(asyncio.run(read_meanwhile(reader)))
    reader.close()
    engine.dispose()


def test_nothing_gets_into_headers_of_any_kind(
    served: Served, settings: Settings, keys: Keys
) -> None:
    inject = f"%0d%0aX-{MARKER}:%201"
    for target in (
        f"/v1/requests/{inject}",
        f"/v1/requests/{uuid4()}{inject}",
        f"/v1/requests?requester={inject}",
        f"/v1/requests?cursor={inject}",
        f"/docs/{inject}",
        f"/{inject}?{inject}={inject}",
    ):
        heard = say(served.port, head("GET", target, CLOSE, key=keys.ana))
        assert MARKER.lower() not in heard.raw.decode().lower()
    cancel = post(keys.ana, b"", CLOSE, target=f"/v1/requests/{inject}/cancel")
    assert say(served.port, cancel).codes == ["invalid_id"]
    odd = [
        f"traceparent: 00-{'a' * 32}-{'b' * 16}-01 {MARKER}",
        f"Prefer: wait=0, {MARKER}",
        f"Host: {MARKER}",
        f"X-Forwarded-Host: {MARKER}",
        f"X-Forwarded-For: {MARKER}",
        f"Origin: https://{MARKER}.example",
        f"Cookie: {MARKER}",
        f"User-Agent: {MARKER}\xe9",
    ]
    for header in odd:
        heard = say(served.port, post(keys.ana, json_bytes(event()), header, CLOSE))
        assert heard.statuses == [202]
        assert MARKER.lower() not in heard.raw.decode().lower()
    for field in ("id", "requester", "campaign_id"):
        value = event(id=str(uuid4())) | {field: f"a\r\nX-{MARKER}: 1"}
        told = served.post("/v1/requests", value)
        assert told.status in {400, 403, 422}
        assert MARKER.encode() not in told.body
        told = served.post("/v1/requests", jsonl([value]), content_type="application/jsonl")
        assert (told.json["published"], told.json["refused"]) == (0, 1)
        assert MARKER.encode() not in told.body
    known = {"content-type", "saec-key", "traceparent"}
    for headers, value in records(settings):
        assert headers.keys() <= known
        assert MARKER.encode() not in b"".join(headers.values())
        assert MARKER not in json.dumps(value)


_LONG = "a" * 20_000
TARGETS = {
    **dict.fromkeys(
        (
            *("/v1/requests/../keys", "/v1/requests/%2e%2e/keys", "//v1/health", "/v1//health"),
            *("/v1/health/", "/v1/health;a=b", "/v1/health%00", "/V1/HEALTH", "/v1", "/", "*"),
            *("/v1/requests/", "/v1/requests//cancel", "/redoc", "/.env", "/metrics"),
            *("/static-offline-docs", "/static-offline-docs/", "/static-offline-docs/../app.py"),
            *("/static-offline-docs/%2e%2e/%2e%2e/x", "/static-offline-docs//etc/passwd"),
            *("/static-offline-docs/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd", "/docs/../x"),
            *("/static-offline-docs/%2fetc/passwd", "/static-offline-docs/%00", f"/{_LONG}"),
            *(f"/static-offline-docs/{_LONG}", f"/static-offline-docs/{'a/' * 5_000}"),
        ),
        (404, "unknown_path"),
    ),
    **dict.fromkeys(
        (
            *(f"/v1/requests/{one}" for one in ("x", "%c3%a9", "%ff", "%00", "%", _LONG, "%2e")),
            f"/v1/requests/{str(uuid4()).upper()}",
            f"/v1/requests/{uuid4()}%0a",
            f"/v1/requests/urn:uuid:{uuid4()}",
            *(f"/v1/requests?limit={one}" for one in ("0", "-1", "201", "1e2", "", "9" * 5_000)),
            *(f"/v1/requests?cursor={one}" for one in ("", "AAAA", "%ff", "A" * 20_000)),
            "/v1/requests?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkvMDAwMA==",
            *(f"/v1/requests?due_from={one}" for one in ("abc", "9" * 30, "-1", "%00", "%D9%A3")),
            *(f"/v1/requests?{one}=x" for one in ("state", "channel", "lane", MARKER, _LONG)),
            *(f"/v1/requests?{one}=%00" for one in ("requester", "campaign_id")),
            *("/v1/requests?limit=1&limit=1", "/v1/requests?requester=ana&requester=bia"),
            "/v1/requests?" + "&".join(f"k{number}=1" for number in range(2_000)),
        ),
        (400, "invalid_parameter"),
    ),
}


def test_tricks_with_paths_and_parameters(served: Served, keys: Keys) -> None:
    for target, told in TARGETS.items():
        heard = say(served.port, head("GET", target, CLOSE, key=keys.ana))
        assert (heard.statuses, heard.codes) == ([told[0]], [told[1]]), target[:100]
        assert MARKER.encode() not in heard.raw


def test_a_cursor_shows_nobody_elses_requests(
    served: Served, keys: Keys, settings: Settings
) -> None:
    with answering(settings):
        for _ in range(2):
            assert served.post("/v1/requests", event(), prefer="wait=60").status == 201
    page = served.get("/v1/requests?limit=1").json
    other = served.get(f"/v1/requests?cursor={page['next']}", keys.bia)
    assert {one["requester"] for one in other.json["requests"]} <= {"bia"}


def test_other_methods(served: Served, keys: Keys) -> None:
    targets = ("/v1/requests", f"/v1/requests/{uuid4()}", "/v1/pending", "/v1/health", "/docs")
    for target in targets:
        for method in ("OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "HEAD", "PROPFIND"):
            origin = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
            heard = say(served.port, head(method, target, CLOSE, *origin, key=keys.ana))
            assert heard.statuses == [405], (method, target)
            assert "allow: " in heard.headers


def test_no_page_in_a_browser_can_send_anything(served: Served, settings: Settings) -> None:
    before = len(records(settings))
    simple = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    for content_type in (*simple, "", "text/html", "application/json2", "application/xml"):
        told = served.post("/v1/requests", event(), content_type=content_type)
        assert (told.status, told.code) == (415, "unsupported_media_type")
    assert len(records(settings)) == before


_MEGABYTE = 990_000
BOMBS: dict[str, tuple[int, bytes]] = {
    "open lists": (400, b"[" * _MEGABYTE),
    "lists in lists": (400, b"[" * (_MEGABYTE // 2) + b"]" * (_MEGABYTE // 2)),
    "objects in objects": (400, b'{"a":' * (_MEGABYTE // 6)),
    "deep in a field": (400, b'{"x":' + b"[" * 400 + b"]" * 400 + b"}"),
    "a huge number": (400, b'{"x":' + b"9" * _MEGABYTE + b"}"),
    "a number beyond floats": (422, b'{"x":1e999999999}'),
    "numbers": (422, b'{"x":[' + b",".join([b"1"] * (_MEGABYTE // 2)) + b"]}"),
    "empty objects": (422, b'{"x":[' + b",".join([b"{}"] * (_MEGABYTE // 3)) + b"]}"),
    "many keys": (422, b"{" + b",".join(b'"%d":1' % key for key in range(80_000)) + b"}"),
    "the same key": (400, b"{" + b",".join([b'"a":1'] * 150_000) + b"}"),
    "two requesters": (400, b'{"requester":"ana","requester":"bia"}'),
    "half a surrogate": (400, b'{"requester":"\\ud800"}'),
    "half a surrogate as a key": (400, b'{"\\ud800":1}'),
    "a byte order mark": (400, b"\xef\xbb\xbf{}"),
    "UTF-16": (400, "{}".encode("utf-16")),
    "not UTF-8": (400, b'{"x":"\xff"}'),
    "gzip": (400, b"\x1f\x8b\x08" + b"\0" * 1_000),
    "NaN": (400, b'{"x":NaN}'),
    "too large": (413, b" " * 1_000_001),
    "spaces": (400, b" " * _MEGABYTE),
    "escapes": (422, b'{"x":"' + b"\\u0041" * (_MEGABYTE // 6) + b'"}'),
    "a long name": (422, b'{"id":"' + MARKER.encode() * 90_000 + b'"}'),
}


def test_json_bombs_are_refused_and_others_are_served_meanwhile(served: Served, keys: Keys) -> None:
    """What they cost is counted in tests/hostile/test_bounds.py."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            assert served.get("/v1/health").status == 200

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        for name, (status, body) in BOMBS.items():
            heard = say(served.port, post(keys.ana, body, CLOSE, "Content-Encoding: identity"))
            assert (heard.statuses, len(heard.codes)) == ([status], 1), name
            assert MARKER.encode() not in heard.raw
        stop.set()
        looking.result()


def test_large_files_are_sent_whole_whatever_part_is_asked_for(served: Served) -> None:
    many = ",".join(f"{first}-{first}" for first in range(0, 4_000, 2))
    for asked in ("bytes=0-1", f"bytes={many}", "bytes=99999999-", MARKER, "bytes=a-b"):
        heard = say(
            served.port,
            head("GET", "/static-offline-docs/swagger-ui.css", CLOSE, f"Range: {asked}"),
        )
        assert heard.statuses == [200]
        assert len(heard.raw) > 100_000
