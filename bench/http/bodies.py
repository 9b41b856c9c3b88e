"""What is posted: the same request of half a kilobyte, each time with another id.

Invariant: it is valid, and due in a month.
"""

import uuid
from collections.abc import Iterator

from bench import events
from bench.instants import now_ms

NO_ID = str(uuid.UUID(int=0))
"""Stands in a template where the id is to be."""
_MONTH_MS = 30 * 86_400_000


def template() -> str:
    """A request with `NO_ID`."""
    due_ms = now_ms() + _MONTH_MS
    return events.encoded(uuid.UUID(NO_ID), "c0", due_ms, events.JSON).decode()


def bodies(count: int) -> Iterator[tuple[str, bytes]]:
    """So many requests: the id, and the request as JSON."""
    before, after = template().split(NO_ID)
    for _ in range(count):
        id_ = str(uuid.uuid4())
        yield id_, f"{before}{id_}{after}".encode()
