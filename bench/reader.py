"""The outside reader, a process of its own: `python -m bench.reader`.

Reads topics read_committed from their ends on, as a sender would, and writes down raw what it saw:
`ids` (36 bytes a record) and `looks` (how many, at which µs). Invariant: nothing is evaluated while
it reads, and a look's instant is taken after its records arrived. Ends when its stdin does.
"""

import argparse
import gc
import sys
import threading
import time
from array import array
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from bench.child import Child, child, module
from bench.ends import ends_of
from bench.seen import ID_BYTES, Readings

_MOST = 20_000
_LONGEST_WAIT_S = 0.1
_FINISH_S = 30.0
# Of a dispatch message: behind marker, fingerprint and the length of the text.
_ID_IN_VALUE = slice(11, 11 + ID_BYTES)


class Reader:
    """A running reader, as its parent sees it."""

    def __init__(self, running: Child, directory: Path) -> None:
        self._child = running
        self._directory = directory

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def count(self) -> int:
        """How many records it has seen so far."""
        return (self._directory / "ids").stat().st_size // ID_BYTES

    def wait_for(
        self, count: int, *, longest_pause_s: float, told: Callable[[int], None] = lambda _: None
    ) -> None:
        """Wait until it has seen so many; or nothing more for so long."""
        seen, since_s = -1, time.monotonic()
        while seen < count and time.monotonic() < since_s + longest_pause_s:
            threading.Event().wait(0.05)
            now = self.count()
            if now > seen:
                seen, since_s = now, time.monotonic()
                told(now)

    def finish(self) -> Readings:
        """End it; what it saw."""
        self._child.finish(_FINISH_S)
        return Readings.load(self._directory)


@contextmanager
def reading(
    bootstrap_servers: str,
    topics: Collection[str],
    directory: Path,
    *,
    look_every_s: float = 0.0,
    by_key: bool = False,
) -> Iterator[Reader]:
    """Start a reader, and wait until it reads. `look_every_s` 0: every record as it comes."""
    directory.mkdir(parents=True, exist_ok=True)
    command = module("bench.reader", bootstrap_servers, str(directory), *topics)
    command += ["--every", str(look_every_s), *(["--by-key"] if by_key else [])]
    with child("the reader", command) as running:
        running.hear()
        yield Reader(running, directory)


def _from_the_ends(consumer: Consumer, topics: Collection[str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition, end)
        for topic, partitions in ends_of(consumer, topics).items()
        for partition, end in partitions.items()
    ]


def _looks(consumer: Consumer, every_s: float, over: threading.Event) -> Iterator[list[Any]]:
    """What is there, as soon as there is something; or in steps, which takes less of a core."""
    while not over.is_set():
        if every_s:
            yield consumer.consume(_MOST, every_s)
        elif (first := consumer.poll(_LONGEST_WAIT_S)) is not None:
            yield [first, *consumer.consume(_MOST, 0)]


def _read(consumer: Consumer, given: argparse.Namespace, over: threading.Event) -> None:
    with (given.directory / "ids").open("wb") as ids, (given.directory / "looks").open("wb") as at:
        sys.stdout.write("reading\n")
        sys.stdout.flush()
        for look in _looks(consumer, given.every, over):
            now_us = time.time_ns() // 1000
            good = [message for message in look if message.error() is None]
            if not good:
                continue
            if given.by_key:
                ids.write(b"".join([message.key() for message in good]))
            else:
                ids.write(b"".join([message.value()[_ID_IN_VALUE] for message in good]))
            ids.flush()
            array("q", (len(good), now_us)).tofile(at)


def _wait_for_the_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    """Read until stdin ends."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.reader",
        description=__doc__,
        epilog="Example: python -m bench.reader 127.0.0.1:9092 seen saec.dispatch.email",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bootstrap_servers")
    parser.add_argument("directory", type=Path, help="where ids and looks are written")
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--every", type=float, default=0.0, help="seconds between two looks")
    parser.add_argument("--by-key", action="store_true", help="the key is the id, not the value's")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    gc.disable()
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": "bench.reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # In steps: much at a time, or the broker's answers take a third of a core.
            "fetch.min.bytes": 100_000 if given.every else 1,
            "fetch.wait.max.ms": 50 if given.every else 500,
            "fetch.queue.backoff.ms": 5,
            "log_level": 0,
        }
    )
    consumer.assign(_from_the_ends(consumer, given.topics))
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
    _read(consumer, given, over)
    consumer.close()


if __name__ == "__main__":
    main()
