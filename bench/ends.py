"""Where topics end: from there a reader sees what is published afterwards."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.instants import pause

Ends = Mapping[str, Mapping[int, int]]
"""Topic -> partition -> offset."""

_LONGEST_S = 30.0


def ends_of(consumer: Consumer, topics: Collection[str]) -> Ends:
    """The end of each partition now; a partition without a leader yet is waited for."""
    deadline_s = time.monotonic() + _LONGEST_S
    listed = consumer.list_topics(timeout=_LONGEST_S).topics
    return {
        topic: {one: _end(consumer, topic, one, deadline_s) for one in listed[topic].partitions}
        for topic in topics
    }


def ends(bootstrap_servers: str, topics: Collection[str]) -> Ends:
    """The same, by a client of its own."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "bench.ends", "log_level": 0}
    )
    try:
        return ends_of(consumer, topics)
    finally:
        consumer.close()


def _end(consumer: Any, topic: str, partition: int, deadline_s: float) -> int:
    while True:
        try:
            place = TopicPartition(topic, partition)
            return int(consumer.get_watermark_offsets(place, timeout=_LONGEST_S)[1])
        except KafkaException:
            if time.monotonic() >= deadline_s:
                raise
            pause(0.1)
