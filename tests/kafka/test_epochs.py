"""Offsets carry the epoch of the leader that wrote the record before them.

By it the client tells a partition that lost what was read, and went on with other records. That was
tried with a log that was cut: see docs/reliability.md. One broker alone keeps its first epoch.
"""

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from saec.errors import ConfigurationError
from saec.kafka.intake import Intake, _refuse_lasting
from saec.settings import Settings

TIMEOUT_S = 60.0


class Positions:
    """A store that keeps what it is told."""

    def __init__(self) -> None:
        self.saved: dict[int, int] = {}

    def read(self) -> dict[int, int]:
        return dict(self.saved)

    def save(self, next_offsets: Any) -> None:
        self.saved |= next_offsets


@pytest.fixture
def answered(installation: Settings) -> tuple[Settings, Positions]:
    """An installation of which three records were read and answered."""
    topic, positions = installation.topics.requests, Positions()
    producer = Producer({"bootstrap.servers": installation.bootstrap_servers})
    for _ in range(3):
        producer.produce(topic, b"x", partition=1)
    assert producer.flush(TIMEOUT_S) == 0
    with closing(Intake(installation, "requests", topic, positions)) as intake:
        read = 0
        while read < 3:
            batch = intake.read()
            if batch.records:
                positions.save(batch.next_offsets)
                intake.answer(batch, ())
                read += len(batch.records)
    return installation, positions


def committed(settings: Settings) -> Any:
    """What the group committed of partition 1."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group_id("requests"),
    }
    with closing(Consumer(config)) as consumer:
        asked = [TopicPartition(settings.topics.requests, 1)]
        return consumer.committed(asked, timeout=TIMEOUT_S)[0]


def test_offsets_are_committed_with_the_epoch(answered: tuple[Settings, Positions]) -> None:
    found = committed(answered[0])
    assert (found.offset, found.leader_epoch) == (3, 0)


def test_a_partition_starts_with_the_epoch_that_was_committed(
    answered: tuple[Settings, Positions],
) -> None:
    settings, positions = answered
    with closing(Intake(settings, "requests", settings.topics.requests, positions)) as intake:
        while not intake._next:
            intake.read()
        source = [TopicPartition(settings.topics.requests, 1)]
        (start,) = intake._starts(intake._consumer, source)
        assert (start.offset, start.leader_epoch) == (3, 0)
        positions.saved[1] = 5  # stored, not answered: it still starts at the group's
        (start,) = intake._starts(intake._consumer, source)
        assert (start.offset, start.leader_epoch) == (3, 0)


def test_what_is_passed_over_leaves_no_epoch(answered: tuple[Settings, Positions]) -> None:
    """That of an earlier record would say that what was passed over does not exist."""
    settings, positions = answered
    with closing(Intake(settings, "requests", settings.topics.requests, positions)) as intake:
        intake._note_epoch(1, 4)
        intake._note_epoch(1, None)
        assert intake._epochs == {}


def test_a_log_that_was_cut_stops_the_consumer_with_words() -> None:
    said = "Partition log truncation detected at offset 100 (leader epoch 0)"
    error = KafkaError(KafkaError._AUTO_OFFSET_RESET, said)
    message = SimpleNamespace(error=lambda: error, topic=lambda: "saec.requests")
    with pytest.raises(ConfigurationError) as refused:
        _refuse_lasting(message)
    assert said in str(refused.value)
    assert "lost records" in str(refused.value)
