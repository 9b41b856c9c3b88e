"""Kafka away, PostgreSQL away, the endpoint killed: what was answered with 2xx is in the topic."""

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from saec.contracts.status import Status, decode_status
from saec.http import endpoint, reading
from saec.kafka import async_producer
from saec.kafka.async_producer import Appended, AsyncProducer
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.records import Outgoing
from saec.keys import new_key
from saec.settings import Settings
from tests.http.endpoint import Served, Told, answering, make_key, serve
from tests.http.inside import serving
from tests.outages.grounds import Grounds, wait_until
from tests.outages.single import Process
from tests.stack import Installations

Deliver = Callable[[AsyncProducer, Outgoing], Awaitable[Appended]]

SENDERS = 4
DELIVERY_S = 3
ANSWER_S = 1.5
READING = 120  # who read at the same time, two at a time of one key
HANGS_S = 60.0
FREE = 1_000_000  # requests a second
DUE_MS = int(time.time() * 1000) + 86_400_000


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    """Parts that may be killed."""
    # A short path: PostgreSQL's socket stands below it.
    with tempfile.TemporaryDirectory(prefix="saec-http-") as directory:
        made = Grounds(Path(directory))
        yield made
        made.close()


@pytest.fixture(scope="module")
def settings(grounds: Grounds) -> Iterator[Settings]:
    """One installation on them."""
    installations = Installations(grounds.stack)
    with installations.make() as made:
        yield made
    installations.close()


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Served]:
    """An endpoint that knows sooner that a part is away."""
    key = make_key(settings, rate=FREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_producer, "DELIVERY_TIMEOUT_S", DELIVERY_S)
        patch.setattr(AsyncProducer, "_deliver", PROBES.counting(AsyncProducer._deliver))
        patch.setattr(endpoint, "_ANSWER_S", ANSWER_S)
        patch.setattr(reading, "_PENDING_KEPT_S", 0.0)
        with serving(settings) as port:
            yield Served(settings, cast("Process", None), port, key)


@dataclass
class Probes:
    """How many records at a time are tried while it is known that Kafka is away."""

    now: int = 0
    most: int = 0

    def counting(self, deliver: Deliver) -> Deliver:
        """`deliver`, counted."""

        async def counted(producer: AsyncProducer, record: Outgoing) -> Appended:
            probes = int(producer._away)
            self.now += probes
            self.most = max(self.most, self.now)
            try:
                return await deliver(producer, record)
            finally:
                self.now -= probes

        return counted


PROBES = Probes()


@dataclass
class Sent:
    """What one request came to; `told` is None when there was no answer."""

    request_id: str
    told: Told | None
    at_s: float

    @property
    def is_taken(self) -> bool:
        """Whether it was answered with 2xx."""
        return self.told is not None and self.told.status < 300


@dataclass
class Load:
    """Some who send one request after the other."""

    served: Served
    sent: list[Sent] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block they send."""
        stop = threading.Event()
        with ThreadPoolExecutor(SENDERS) as threads:
            senders = [threads.submit(self._send, stop) for _ in range(SENDERS)]
            try:
                wait_until(lambda: self.taken_since(0.0) > 20)
                yield
            finally:
                stop.set()
        assert [sender.result() for sender in senders]

    def taken_since(self, at_s: float) -> int:
        """How many were answered with 2xx of those that were sent since."""
        return sum(one.is_taken for one in self.sent if one.at_s >= at_s)

    def _send(self, stop: threading.Event) -> bool:
        while not stop.wait(0.005):
            began_s, request_id = time.monotonic(), str(uuid4())
            told: Told | None = None
            try:
                told = self.served.post("/v1/requests", event(request_id))
            except (OSError, HTTPException):
                stop.wait(0.05)
            self.sent.append(Sent(request_id, told, began_s))
        return True


def event(request_id: str) -> dict[str, object]:
    """A request to come; of the same id always the same."""
    return {
        "id": request_id,
        "channels": ["PUSH"],
        "due_at": DUE_MS,
        "lane": "CAMPAIGN",
        "message": {"body": "x", "content_type": "text/plain"},
    }


@contextmanager
def stopped(grounds: Grounds) -> Iterator[None]:
    """Kafka hangs."""
    os.kill(grounds.embedded.broker_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(grounds.embedded.broker_pid, signal.SIGCONT)


@contextmanager
def killed(grounds: Grounds) -> Iterator[None]:
    """Kafka is dead, and comes back."""
    grounds.kill_broker()
    try:
        yield
    finally:
        grounds.start_broker()


@pytest.mark.parametrize("away", [stopped, killed])
def test_kafka_away(
    grounds: Grounds,
    settings: Settings,
    served: Served,
    away: Callable[[Grounds], AbstractContextManager[None]],
) -> None:
    load, before = Load(served), set(ids(settings))
    with load.running():
        began_s = time.monotonic()
        with away(grounds):
            wait_until(lambda: refused(load, began_s) >= SENDERS)
            known_s = time.monotonic()
            wait_until(lambda: refused(load, known_s) >= 50)
            # None of them waits for Kafka, which comes back behind them.
            assert served.get("/v1/health").json == {"status": "ok"}
            assert served.get("/v1/requests?limit=1").status == 200
            assert served.get("/v1/pending").status == 200
        back_s = time.monotonic()
        wait_until(lambda: load.taken_since(back_s) > 20)
    problems = [one for one in load.sent if not one.is_taken]
    for one in problems:
        assert one.told is not None
        assert (one.told.status, one.told.code) == (503, "kafka_unavailable")
        assert one.told.headers["retry-after"] == "5"
        assert one.told.json["request_id"] == one.request_id
    # One at a time finds out whether it is back, the others are told at once.
    assert PROBES.most == 1
    found = Counter(ids(settings, but=before))
    taken = {one.request_id for one in load.sent if one.is_taken}
    assert taken <= found.keys()
    assert found.keys() <= {one.request_id for one in load.sent}
    assert set(found.values()) == {1}


@contextmanager
def frozen_database(grounds: Grounds) -> Iterator[None]:
    """PostgreSQL hangs."""
    grounds.postgres.freeze()
    try:
        yield
    finally:
        grounds.postgres.mend()


@contextmanager
def dead_database(grounds: Grounds) -> Iterator[None]:
    """PostgreSQL is dead, and comes back."""
    grounds.kill_postgres(signal.SIGQUIT)
    try:
        yield
    finally:
        grounds.start_postgres()


@pytest.mark.parametrize("away", [frozen_database, dead_database])
def test_postgresql_away(
    grounds: Grounds,
    settings: Settings,
    served: Served,
    away: Callable[[Grounds], AbstractContextManager[None]],
) -> None:
    load, unknown = Load(served), new_key()[0]
    wait_until(lambda: served.get("/v1/pending").status == 200)
    with load.running():
        began_s = time.monotonic()
        with away(grounds):
            for path in ("/v1/requests", f"/v1/requests/{uuid4()}", "/v1/pending"):
                told = served.get(path)
                assert (told.status, told.code) == (503, "postgresql_unavailable")
                assert told.headers["retry-after"] == "5"
            # Nobody is waited for in turn: that would be a minute and a half.
            with ThreadPoolExecutor(READING) as threads:
                asked_s = time.monotonic()
                paths = ["/v1/pending", "/v1/requests"] * (READING // 2)
                seen = list(threads.map(served.get, paths))
                assert {told.code for told in seen} == {"postgresql_unavailable"}
                strangers = list(threads.map(served.get, paths, [unknown] * READING))
                assert {told.status for told in strangers} <= {401, 503}
                assert time.monotonic() - asked_s < HANGS_S
            wait_until(lambda: served.get("/v1/pending", unknown).code == "postgresql_unavailable")
            assert served.get("/v1/health").json == {"status": "ok"}
            assert served.post("/v1/requests", event(str(uuid4()))).status == 202
        wait_until(lambda: served.get("/v1/requests").status == 200)
        wait_until(lambda: served.get("/v1/pending", unknown).status == 401)
        assert load.taken_since(began_s) > 20
    assert all(one.is_taken for one in load.sent)
    assert {one.request_id for one in load.sent} <= set(ids(settings))


def test_an_endpoint_that_is_killed_loses_nothing_that_it_took(
    settings: Settings, tmp_path: Path
) -> None:
    before, key = set(ids(settings)), make_key(settings, rate=FREE)
    with serve(settings, tmp_path / "first.log", key) as first:
        load = Load(first)
        with load.running():
            first.process.child.kill()
            first.process.child.wait()
            wait_until(lambda: sum(one.told is None for one in load.sent) >= 2 * SENDERS)
    taken = {one.request_id for one in load.sent if one.is_taken}
    others = [one.request_id for one in load.sent if not one.is_taken]
    assert taken <= set(ids(settings, but=before))
    with serve(settings, tmp_path / "second.log", key) as second, answering(settings):
        for one in others:
            told = second.post("/v1/requests", event(one), prefer="wait=60")
            assert told.status in {200, 201}, told.body  # DUPLICATE: it did arrive
        for one in taken | set(others):
            wait_until(lambda one=one: second.get(f"/v1/requests/{one}").status == 200)
    accepted = Counter(answers(settings, Status.ACCEPTED))
    assert {accepted[one] for one in taken | set(others)} == {1}


def refused(load: Load, since_s: float) -> int:
    """How many were answered with 503 of those that were sent since."""
    known = [one for one in load.sent if one.at_s >= since_s and one.told is not None]
    return sum(one.told is not None and one.told.status == 503 for one in known)


def ids(settings: Settings, but: Set[str] = frozenset()) -> list[str]:
    """The ids of all that was published."""
    found = read_whole(settings, [settings.topics.requests], Beginning())
    named = [(one.key or b"").decode() for one in found]
    return [one for one in named if one not in but]


def answers(settings: Settings, status: Status) -> list[str]:
    """The ids that were answered so."""
    found = read_whole(settings, [settings.topics.status], Beginning())
    told = [decode_status(one.value or b"") for one in found]
    return [one.request_id for one in told if one.status is status]
