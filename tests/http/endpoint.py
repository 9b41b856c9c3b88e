"""The HTTP endpoint as people run it: a real process on a free port, keys for it, and a caller.

Invariant: what is started here has ended when its block is left. The caller is Python's own HTTP
client: nothing of the endpoint's.
"""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saec.clock import SystemClock
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.keys import Scope, new_key
from saec.settings import Settings
from saec.store import keys
from saec.store.engine import open_engine, transaction
from saec.store.keys import KeyRow
from saec.store.shards import now_ms
from tests.outages.single import Process

HOST = "127.0.0.1"
CALL_TIMEOUT_S = 90.0
ALL = tuple(Scope)


@dataclass(frozen=True)
class Told:
    """What the endpoint answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """What the problem is. Fails where the answer is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        return str(self.json["code"])


@dataclass(frozen=True)
class Served:
    """A running endpoint."""

    settings: Settings
    process: Process
    port: int
    key: str | None = None
    context: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"{'http' if self.context is None else 'https'}://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.process.log.read_text()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of the caller's own, which they close."""
        if self.context is None:
            return http.client.HTTPConnection(HOST, self.port, timeout=CALL_TIMEOUT_S)
        return http.client.HTTPSConnection(
            HOST, self.port, timeout=CALL_TIMEOUT_S, context=self.context
        )

    def get(self, path: str, key: str | None = None) -> Told:
        """Read something."""
        return self.call("GET", path, key=key)

    def post(self, path: str, body: Any = b"", key: str | None = None, **headers: str) -> Told:
        """Send a body; what is not bytes already is sent as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, sent, key, **{"content_type": "application/json"} | headers)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        key: str | None = None,
        **headers: str,
    ) -> Told:
        """One request on a connection of its own; `content_type="…"` is `content-type: …`.

        It has `key`, or the one of `serve`; none if that is empty.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.connect()) as connection:
            connection.request(method, path, body, self._authorization(key) | sent)
            response = connection.getresponse()
            return Told(response.status, response.headers, response.read())

    def _authorization(self, key: str | None) -> Mapping[str, str]:
        text = self.key if key is None else key
        return {"authorization": f"Bearer {text}"} if text else {}


@contextmanager
def serve(
    settings: Settings,
    log: Path,
    key: str | None = None,
    context: ssl.SSLContext | None = None,
    **environment: str,
) -> Iterator[Served]:
    """Start `python -m producers.http`; the block begins when it listens, and ends with its end.

    Make the keys before: one that is added later may be unknown for the first second. `key` is for
    calls that name no other; `environment` is set for the process.
    """
    port = _free_port()
    chosen = {"SAEC_HTTP_PORT": str(port), "SAEC_LOG_LEVEL": "info"} | environment
    process = Process("producers.http", settings, log, **chosen)
    try:
        process.wait_for("listening")
        yield Served(settings, process, port, key, context)
    finally:
        if process.child.poll() is None:
            process.child.kill()
        process.child.wait()


def make_key(
    settings: Settings,
    requester: str = "tests",
    scopes: tuple[Scope, ...] = ALL,
    rate: int | None = None,
) -> str:
    """Add an API key, as `saec keys add` does; its text."""
    text, key_id, secret_hash = new_key()
    engine = open_engine(settings.database_url)
    try:
        with transaction(engine) as connection:
            at_ms = now_ms(connection)
            row = KeyRow(key_id, secret_hash, "tests", requester, scopes, rate, at_ms, None, None)
            keys.insert_key(connection, row)
    finally:
        engine.dispose()
    return text


@contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """The consumer of requests, in a thread of the test's: within the block SAEC answers."""
    engine = open_engine(settings.database_url)
    loop = IngestLoop(
        opener(settings, engine, "requests", settings.topics.requests),
        RequestIntake(settings, engine, settings.shards),
        SystemClock(),
        "requests",
    )
    thread = threading.Thread(target=loop.run, name="answering")
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()
        loop.close()
        engine.dispose()


def _free_port() -> int:
    with closing(socket.create_server((HOST, 0))) as probe:
        return int(probe.getsockname()[1])
