"""A peer: where its jobs are stored, and the worker that sends them.

Invariant: a job carries an id and a body, and becomes a record of the length of SAEC's messages
with the id where the reader looks for it; it counts as done when Kafka has acknowledged it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import child
from bench.workload import Singles


@dataclass(frozen=True)
class Place:
    """A database of a peer's own, Kafka, the topic, and a directory for what it needs."""

    database_url: str
    bootstrap_servers: str
    topic: str
    directory: Path


@dataclass(frozen=True)
class Peer:
    """`guarantee` is what it promises of a message when a process dies."""

    name: str
    guarantee: str
    prepare: Callable[[Place], None]
    store: Callable[[Place, Singles], None]
    command: Callable[[Place], Sequence[str]]


@contextmanager
def worker(peer: Peer, place: Place) -> Iterator[int]:
    """Its worker, once it says that it is ready; the process id."""
    log = place.directory / "worker.log"
    with child(f"the worker of {peer.name}", peer.command(place), log) as running:
        running.hear()
        yield running.pid
