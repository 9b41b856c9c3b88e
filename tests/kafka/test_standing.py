"""A transaction that a requester leaves open holds up everybody's records: that is told."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from confluent_kafka import Producer

from saec.kafka import standing
from saec.kafka.intake import Intake
from saec.kafka.standing import STANDS_S, Standing
from saec.outage import TELL_AGAIN_S
from saec.settings import Settings

WAITS, AGAIN = "records wait behind an open transaction", "records are read again"
TIMEOUT_S = 60.0
Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told() -> Any:
    """What is logged."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def see(
    stand: Standing, at_s: float, readable: int, end: int, state: str = "active", number: int = 0
) -> None:
    seen = {"fetch_state": state, "ls_offset": readable, "hi_offset": end}
    topics = {"t": {"partitions": {str(number): seen, "-1": {"fetch_state": "none"}}}}
    stand.heard(json.dumps({"ts": int(at_s * 1e6), "topics": topics}))


def test_an_end_that_stands_is_told_once_again_and_when_it_moves(told: Any) -> None:
    stand = Standing("t")
    see(stand, 0, 5, 6)
    see(stand, STANDS_S - 1, 5, 8)
    assert told == []
    see(stand, STANDS_S, 5, 9)
    see(stand, STANDS_S + 5, 5, 9)
    (line,) = told
    assert (line["event"], line["partition"], line["at"], line["waiting"]) == (WAITS, 0, 5, 4)
    see(stand, STANDS_S + TELL_AGAIN_S, 5, 9)
    assert [line["event"] for line in told] == [WAITS, WAITS]
    see(stand, STANDS_S + TELL_AGAIN_S + 5, 10, 10)
    assert [line["event"] for line in told] == [WAITS, WAITS, AGAIN]


def test_transactions_that_end_are_not_told_however_busy_it_is(told: Any) -> None:
    stand = Standing("t")
    for second in range(0, 200, 5):
        see(stand, second, second, second + 3)
    assert told == []


def test_nothing_to_read_and_what_is_not_known_yet_are_no_standstill(told: Any) -> None:
    stand = Standing("t")
    for second in range(0, 200, 5):
        see(stand, second, 7, 7)
        see(stand, second, -1001, -1001, number=1)
    assert told == []


def test_a_partition_that_went_to_somebody_else_is_forgotten(told: Any) -> None:
    stand = Standing("t")
    see(stand, 0, 5, 6)
    see(stand, 10, 5, 6, state="none")
    see(stand, STANDS_S, 5, 6)
    see(stand, STANDS_S + 19, 5, 6)
    assert told == []
    stand.heard(json.dumps({"ts": int(1e6 * STANDS_S), "topics": {}}))


def test_on_a_real_topic(
    installation: Settings, monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    monkeypatch.setattr(standing, "EVERY_MS", 100)
    monkeypatch.setattr(standing, "STANDS_S", 0.5)
    topic = installation.topics.requests
    producer = Producer(
        {
            "bootstrap.servers": installation.bootstrap_servers,
            "transactional.id": f"{installation.topic_prefix}requester",
        }
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.flush(TIMEOUT_S)
    intake = Intake(installation, "requests", topic, _Positions())
    until(lambda: any(line["event"] == WAITS for line in told), intake)
    (line,) = [line for line in told if line["event"] == WAITS]
    assert (line["topic"], line["partition"], line["at"], line["waiting"]) == (topic, 1, 0, 1)
    producer.abort_transaction(TIMEOUT_S)
    until(lambda: any(line["event"] == AGAIN for line in told), intake)
    intake.close()


def until(is_so: Callable[[], bool], intake: Intake) -> None:
    """Read on until something was told."""
    late = threading.Timer(TIMEOUT_S, lambda: None)
    late.start()
    while not is_so():
        assert late.is_alive()
        intake.read()
    late.cancel()


class _Positions:
    """A store that forgets."""

    def read(self) -> dict[int, int]:
        return {}

    def save(self, next_offsets: object) -> None:
        pass
