"""Nothing of a message or of who is to receive it comes out of the endpoint but in the request.

Names, addresses and bodies are planted wherever a caller can write: in bodies, paths, parameters
and headers, where they belong and where they do not. They may stand in the value of the record that
is published, and nowhere else.
"""

import asyncio
import json
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from starlette.types import Receive, Scope, Send

from saec.cli.instants import wall_ms
from saec.http.boundary import Boundary
from saec.kafka.follow import Beginning, read_whole
from saec.settings import Settings
from tests.http.endpoint import HOST, Served, Told, answering, make_key, serve

NAME, EMAIL, PHONE = "Xantipa Quixabeira", "xantipa@quixabeira.example", "+5511976543210"
BODY = "Olá Xantipa, deve R$ 31.415"
PLANTED = (NAME, EMAIL, PHONE, BODY, f"{NAME}\u0000\r\n{BODY}")
# Any of these, in any spelling that an error could quote.
_FOUND = re.compile("xantipa|quixabeira|976543210|31[.]415|58616e74697061|WGFudGlwY", re.IGNORECASE)
JSONL = {"content_type": "application/jsonl"}
WAIT = {"prefer": "wait=60"}


def schedule(**changed: Any) -> dict[str, Any]:
    """A request full of personal data, where a request has room for it."""
    return {
        "id": str(uuid.uuid4()),
        "channels": ["EMAIL", "SMS"],
        "customers": [EMAIL],
        "due_at": wall_ms() + 3_600_000,
        "message": {
            "subject": NAME,
            "body": BODY,
            "content_type": "text/plain",
            "attributes": {NAME: EMAIL},
        },
        **changed,
    }


def hostile() -> Iterator[bytes]:
    """Requests that must be refused, and would be quoted by a careless error."""
    text = json.dumps(schedule(), ensure_ascii=False)
    yield text[:-20].encode()
    yield text.encode("utf-16")
    yield text.encode("latin-1", "replace") + b"\xff"
    yield text.encode() + BODY.encode()
    yield text.replace("{", '{"' + NAME + '":1,"' + NAME + '":2,', 1).encode()
    yield json.dumps(BODY).encode()
    yield json.dumps(schedule(message=BODY * 40_000)).encode()
    for name in ("type", "requester", *schedule(), NAME):
        for value in (EMAIL, {NAME: [BODY]}, f"{NAME}\u0000\ud800\r\n{BODY}"):
            yield json.dumps(schedule(**{name: value})).encode()


@dataclass
class Caller:
    """Calls the endpoint, and keeps all that it says."""

    served: Served
    heard: list[str] = field(default_factory=list)

    def post(self, *args: Any, **headers: str) -> Told:
        """A POST."""
        return self._keep(self.served.post(*args, **headers))

    def call(self, *args: Any, **headers: str) -> Told:
        """Any method."""
        return self._keep(self.served.call(*args, **headers))

    def raw(self, data: bytes) -> None:
        """What no HTTP client would send."""
        with socket.create_connection((HOST, self.served.port), timeout=60) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            self.heard.append(b"".join(iter(lambda: connection.recv(65_536), b"")).decode())

    def _keep(self, told: Told) -> Told:
        assert told.status < 500, told
        self.heard.append(f"{told.headers}\n{told.body.decode()}")
        return told


@pytest.fixture
def caller(settings: Settings, tmp_path: Path) -> Iterator[Caller]:
    """A caller of an endpoint of their own, which logs all it can."""
    key = make_key(settings, rate=100_000)
    with (
        answering(settings),
        serve(settings, tmp_path / "endpoint.log", key, SAEC_LOG_LEVEL="debug") as served,
    ):
        yield Caller(served)


def send_bodies(caller: Caller) -> int:
    """Returns how many requests must stand in the topic."""
    valid = [schedule() for _ in range(5)]
    first, second, *many = valid
    assert caller.post("/v1/requests", first, **WAIT).status == 201
    assert caller.post("/v1/requests", second).status == 202
    changed = schedule(id=first["id"], message={"body": NAME, "content_type": "text/plain"})
    assert caller.post("/v1/requests", changed, **WAIT).code == "id_taken"
    refused = list(hostile())
    for body in refused:
        assert caller.post("/v1/requests", body, **WAIT).status in range(400, 500)
        caller.post(f"/v1/requests/{first['id']}/cancel", body[:2_000], **WAIT)
    lines = [json.dumps(one).encode() for one in many]
    short = [body for body in refused if b"\n" not in body and len(body) < 100_000]
    told = caller.post("/v1/requests", b"\n".join([*lines, *short]), **JSONL, **WAIT)
    assert told.json["published"] == len(many)
    assert told.json["refused"] == len(short)
    largest = max(refused, key=len)
    assert caller.post("/v1/requests", largest, **JSONL).code == "value_too_large"
    return len(valid) + 1


def send_elsewhere(caller: Caller) -> None:
    """In paths, parameters and headers."""
    for text in map(quote, PLANTED):
        for path in (f"/{text}", f"/v1/requests/{text}", f"/v1/pending/{text}", f"/docs/{text}"):
            assert caller.call("GET", path).status in {400, 404}
        for name in ("requester", "state", "campaign_id", "due_from", "limit", "cursor", text):
            caller.call("GET", f"/v1/requests?{name}={text}")
        caller.call("GET", f"/v1/pending?{text}={text}")
        assert caller.post(f"/v1/requests/{text}/cancel").status == 422
        assert caller.call("DELETE", f"/v1/requests/{text}").code == "method_not_allowed"
    names = ("prefer", "content_type", "user_agent", "cookie", "origin", "x_request_id", "host")
    for name in names:
        caller.post("/v1/requests", schedule(channels=[]), **{name: EMAIL})
    trace = {"traceparent": EMAIL, "tracestate": f"a={EMAIL}", "baggage": f"b={EMAIL}"}
    assert caller.post("/v1/requests", schedule(), **trace).status == 202
    assert caller.call("GET", "/v1/requests", None, EMAIL).code == "unauthenticated"
    for head in (
        f"{NAME} / HTTP/1.1\r\n\r\n",
        f"GET /{EMAIL} {BODY}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{NAME}: {EMAIL}\r\n\r\n",
        f"POST /v1/requests HTTP/1.1\r\ncontent-length: {PHONE}\r\n\r\n{BODY}",
        f"POST /v1/requests HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{NAME}\r\n{BODY}",
    ):
        caller.raw(head.encode())


def test_it_stands_in_the_value_of_the_record_alone(settings: Settings, caller: Caller) -> None:
    accepted = send_bodies(caller)
    send_elsewhere(caller)
    caller.call("GET", "/v1/requests?limit=200")
    caller.call("GET", "/v1/pending")
    quoted = [text for text in caller.heard if _FOUND.search(text)]
    assert quoted == []
    assert [line for line in caller.served.log.splitlines() if _FOUND.search(line)] == []
    published = list(read_whole(settings, [settings.topics.requests], Beginning()))
    schedules = [one for one in published if b"xantipa@" in (one.value or b"")]
    assert len(schedules) == accepted + 1
    for record in published:
        assert str(uuid.UUID((record.key or b"").decode())) == (record.key or b"").decode()
        assert not _FOUND.search(repr(record.headers))
        assert {name for name, _ in record.headers or ()} == {"content-type", "saec-key"}


def test_an_error_that_nobody_expected_is_not_quoted() -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError(f"invalid: {EMAIL}")

    async def unused(*_: object) -> Any:
        raise AssertionError

    with structlog.testing.capture_logs() as lines:
        asyncio.run(Boundary(broken)({"type": "http", "headers": []}, unused, unused))
    assert [line["kind"] for line in lines] == ["ValueError"]
    assert not _FOUND.search(repr(lines))
