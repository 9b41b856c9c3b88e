"""Plain: reads topics from their beginnings to their ends, as fast as it goes, and does nothing.

What any audit of them costs at the least: `python -m bench.audit.plain`. Touches each record's key,
value and offset, and says how many records and bytes there were and how long it took, as JSON.
Invariant: read_committed, one consumer for all partitions, each up to its end as it was reached.
"""

import argparse
import gc
import json
import sys
import time
from collections import Counter
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.ends import ends_of
from saec.settings import Settings

TUNED = {"fetch.queue.backoff.ms": 5}
_MOST = 10_000
_WAIT_S = 0.1  # for so many; so at the end it is late by no more
_GIVE_UP_S = 60.0


def audited(settings: Settings) -> list[str]:
    """The topics that an audit reads."""
    topics = settings.topics
    return [topics.requests, topics.status, topics.ledger, *topics.dispatch.values()]


def read(consumer: Any, topics: list[str]) -> Counter[str]:
    """Records and bytes, of all and of each topic.

    Raises:
        TimeoutError: a minute without a record.
    """
    open_ = {(topic, one) for topic, ones in ends_of(consumer, topics).items() for one in ones}
    consumer.assign([TopicPartition(*place, 0) for place in open_])
    found: Counter[str] = Counter()
    size, last_s = 0, time.monotonic()
    while open_:
        messages = consumer.consume(_MOST, _WAIT_S)
        if messages:
            last_s = time.monotonic()
        elif time.monotonic() > last_s + _GIVE_UP_S:
            raise TimeoutError(f"nothing more came, but these have no end yet: {sorted(open_)}")
        by_topic: Counter[str] = Counter()
        for message in messages:
            error = message.error()
            if error is None:
                size += len(message.value() or b"") + len(message.key() or b"")
                by_topic[message.topic()] += message.offset() >= 0
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                open_.discard((message.topic(), message.partition()))
            else:
                raise RuntimeError(str(error))
        found += by_topic
    found["records"] = sum(found.values())
    found["bytes"] = size
    return found


def main() -> None:
    """Read, and say what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.audit.plain",
        description=__doc__,
        epilog="Example: python -m bench.audit.plain 127.0.0.1:9092 saec.status --tuned",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bootstrap_servers")
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--tuned", action="store_true", help=f"with {TUNED}, not the defaults")
    given = parser.parse_args()
    gc.disable()
    began_s = time.monotonic()
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": "bench.plain",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
            **(TUNED if given.tuned else {}),
        }
    )
    found = read(consumer, given.topics)
    seconds = time.monotonic() - began_s
    consumer.close()
    sys.stdout.write(json.dumps({**found, "seconds": round(seconds, 3)}) + "\n")


if __name__ == "__main__":
    main()
