"""Requesters' own topics: each record is forwarded once, bound to the requester of its topic."""

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from saec import installation
from saec.clock import SystemClock
from saec.contracts.decode import decode_request
from saec.contracts.rejected import RejectedError
from saec.errors import ConfigurationError, Reason
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.forward import Forwarder, binding
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.outage import STUCK_FAILURES
from saec.settings import Settings, load_settings
from tests.contracts.values import schedule_json

MOST = 1_000_000


@pytest.fixture
def settings(make_installation: Callable[..., Settings]) -> Settings:
    """An installation with two requesters, whose topics are there."""
    made = make_installation(requesters="billing,crm")
    installation.init(made)
    return made


def test_a_record_says_whose_topic_it_came_from_and_nobody_else_does() -> None:
    forged = [("saec-requester", b"crm"), ("Saec-Requester", b"crm"), ("saec-key", b"0123")]
    kept: list[tuple[str, bytes | None]] = [("content-type", b"application/json"), ("x", None)]
    assert binding("billing", [*forged, *kept]) == [*kept, ("saec-requester", b"billing")]
    assert binding("billing", None) == binding("billing", ()) == [("saec-requester", b"billing")]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], None),
        ([("saec-requester", b"billing")], None),
        ([("saec-requester", b"crm")], Reason.REQUESTER_MISMATCH),
        ([("saec-requester", None)], Reason.REQUESTER_MISMATCH),
        ([("saec-requester", b"billing")] * 2, Reason.REQUESTER_MISMATCH),
    ],
)
def test_a_bound_record_names_its_requester_and_no_other(
    headers: list[tuple[str, bytes | None]], reason: Reason | None
) -> None:
    cancel = json.dumps(
        {"type": "saec.v1.CancelRequested", "id": str(uuid4()), "requester": "billing"}
    ).encode()
    for value in (schedule_json(requester="billing"), cancel):
        if reason is None:
            decode_request(value, headers, MOST)
            continue
        with pytest.raises(RejectedError) as caught:
            decode_request(value, headers, MOST)
        assert caught.value.reason is reason
        assert caught.value.request_id is not None


@pytest.mark.parametrize("names", ["a b", "a,a", "a.b,a_b", "a,", "é", "x" * 61, "a/b"])
def test_names_that_cannot_end_a_topic_are_refused(
    names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEC_REQUESTERS", names)
    with pytest.raises(ConfigurationError, match="SAEC_REQUESTERS"):
        load_settings()


def test_without_requesters_there_is_nothing_to_run() -> None:
    with pytest.raises(ConfigurationError, match="SAEC_REQUESTERS"):
        Forwarder(Settings(), SystemClock())


def test_each_record_is_forwarded_once_whatever_becomes_of_a_transaction(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was committed and that was not heard, or never was committed."""
    sent = _publish(settings, 60)
    commit, number = TransactionalProducer.commit, 0

    def doubtful(self: TransactionalProducer) -> None:
        nonlocal number
        number += 1
        if number % 3 == 0:
            raise InDoubtError("before")
        commit(self)
        if number % 3 == 1:
            raise InDoubtError("after")

    monkeypatch.setattr(TransactionalProducer, "commit", doubtful)
    forwarders = [Forwarder(settings, SystemClock()) for _ in range(2)]
    threads = [threading.Thread(target=one.run) for one in forwarders]
    for thread in threads:
        thread.start()
    try:
        _wait(lambda: len(_forwarded(settings)) >= len(sent))
        sent |= _publish(settings, 60)
        forwarders[0].stop()
        threads[0].join()
        forwarders[0].close()
        _wait(lambda: len(_forwarded(settings)) >= len(sent))
    finally:
        for one, thread in zip(forwarders, threads, strict=True):
            one.stop()
            thread.join()
            one.close()
    found = _forwarded(settings)
    assert sorted(found) == sorted(
        (requester, key, value) for (requester, key), values in sent.items() for value in values
    )


class Hasty(SystemClock):
    """Pauses end at once."""

    def wait(self, stop: threading.Event, _timeout_s: float) -> bool:
        return stop.is_set()


def test_the_same_records_that_fail_again_and_again_are_trouble(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarder = Forwarder(settings, Hasty())
    troubles: list[str | None] = []

    def failing(_: Forwarder) -> int:
        troubles.append(forwarder.trouble)
        if len(troubles) <= STUCK_FAILURES:
            raise ArithmeticError
        forwarder.stop()
        return 0

    monkeypatch.setattr(Forwarder, "run_once", failing)
    forwarder.run()
    *before, told = troubles
    assert before == [None] * STUCK_FAILURES
    assert told is not None
    assert told.startswith(f"the same records fail, {STUCK_FAILURES} times in a row")


def _publish(settings: Settings, count: int) -> dict[tuple[bytes, bytes], list[bytes]]:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    sent: dict[tuple[bytes, bytes], list[bytes]] = {}
    for number in range(count):
        for topic, requester in settings.requester_topics.items():
            key = uuid4().hex.encode()
            value = str(number).encode()
            forged = [("saec-requester", b"somebody else")]
            producer.produce(topic, value, key, headers=forged)
            sent.setdefault((requester.encode(), key), []).append(value)
    producer.flush()
    return sent


def _forwarded(settings: Settings) -> list[tuple[bytes, bytes, bytes]]:
    records = read_whole(settings, [settings.topics.requests], Beginning())
    return [
        (dict(one.headers or ())["saec-requester"] or b"", one.key or b"", one.value or b"")
        for one in records
    ]


def _wait(condition: Callable[[], Any]) -> None:
    never = threading.Event()
    while not condition():
        never.wait(0.2)
