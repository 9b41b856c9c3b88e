"""What a look at the ledger makes of partitions without a leader, and of missing replicas."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from saec.errors import BrokerUnavailableError
from saec.kafka.ledger import Ends, Look
from saec.settings import Settings


@dataclass
class Broker:
    """A client of a broker that tells this: shard -> (leader, replicas in sync, of three)."""

    told: dict[int, tuple[int, int]]

    def list_topics(self, topic: str, timeout: float) -> Any:
        """Its metadata."""
        assert timeout > 0
        partitions = {
            shard: SimpleNamespace(leader=leader, isrs=[*range(in_sync)], replicas=[0, 1, 2])
            for shard, (leader, in_sync) in self.told.items()
        }
        found = SimpleNamespace(error=None, partitions=partitions)
        return SimpleNamespace(topics={topic: found})

    def offsets_for_times(self, wanted: list[TopicPartition], timeout: float) -> Any:
        """As librdkafka: with one leader missing there is no answer at all."""
        assert timeout > 0
        assert all(self.told[one.partition][0] >= 0 for one in wanted)
        return [TopicPartition(one.topic, one.partition, 7) for one in wanted]


def look(told: dict[int, tuple[int, int]]) -> Look:
    """A look by two such clients."""
    broker: Any = Broker(told)
    return Look(Settings(), broker, broker)


def test_a_partition_without_a_leader_is_left_out() -> None:
    ends = look({0: (1, 3), 1: (-1, 0), 2: (2, 2)}).ends([0, 1, 2], every=False)
    assert ends == {0: Ends(7, 7, 7), 2: Ends(7, 7, 7, in_sync=False)}


def test_who_wants_every_end_is_refused() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"no leader for shards \[1\]"):
        look({0: (1, 3), 1: (-1, 0)}).ends([0, 1])


def test_without_any_leader_there_is_no_answer() -> None:
    with pytest.raises(BrokerUnavailableError, match="no leader"):
        look({1: (-1, 0)}).ends([1], every=False)
