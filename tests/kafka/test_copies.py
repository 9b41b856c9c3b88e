"""A refused record whose copy does not fit saec.rejected never keeps others from being answered."""

from collections.abc import Iterator

import pytest

from saec.contracts.status import Status
from saec.errors import BrokerUnavailableError
from saec.kafka import copies, limits
from saec.settings import Settings
from saec.store.engine import Engine, open_engine
from tests.altered import alter
from tests.hostile.topic import Record, publish, said, take
from tests.kafka.test_unreadable import good


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


LARGE = [Record(b"x" * 300_000, b"large"), Record(b"y" * 150_000, b"fits"), Record(b"z", b"small")]


def test_a_copy_is_as_large_as_the_topic_takes(installation: Settings, engine: Engine) -> None:
    topic = installation.topics.requests
    alter(installation, installation.topics.rejected, max_message_bytes="200000")
    assert publish(installation, topic, [*LARGE, Record(good())]) == []
    take(installation, engine, "requests", len(LARGE) + 1)
    answers = said(installation, topic)
    kept = [(copy.value, copy.key) for at in range(3) for copy in answers.copies[at]]
    assert kept == [(None, None), *((one.value, one.key) for one in LARGE[1:])]
    assert answers.statuses[3][0].status is Status.ACCEPTED


def test_without_knowing_how_large_a_copy_may_be_it_has_no_value(
    installation: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(_settings: Settings, _topic: str) -> int:
        raise BrokerUnavailableError("not allowed to")

    monkeypatch.setattr(limits, "largest_bytes", hidden)
    topic = installation.topics.requests
    publish(installation, topic, [*LARGE, Record(good())])
    take(installation, engine, "requests", len(LARGE) + 1)
    answers = said(installation, topic)
    assert [(c.value, c.key) for at in range(3) for c in answers.copies[at]] == [(None, None)] * 3
    assert answers.copies[2][0].reason == "invalid_json"


def test_a_topic_that_takes_less_meanwhile_gets_copies_without_values(
    installation: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked, it still says what it took when the process started."""
    topic = installation.topics.requests
    monkeypatch.setattr(copies, "_asked", lambda _: 2_200_000)
    alter(installation, installation.topics.rejected, max_message_bytes="200000")
    publish(installation, topic, [*LARGE, Record(good())])
    take(installation, engine, "requests", len(LARGE) + 1, failures=1)
    answers = said(installation, topic)
    assert [(c.value, c.key) for at in range(3) for c in answers.copies[at]] == [(None, None)] * 3
    assert answers.statuses[3][0].status is Status.ACCEPTED
