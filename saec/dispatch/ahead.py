"""The next batch: claimed and read in a thread of its own while another one goes out to Kafka.

Invariant: whoever started it takes it or gives its claims up; what it raises is raised to them.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from saec.dispatch.batch import Claim
from saec.dispatch.read import Snapshot
from saec.store.pending import EVERYTHING, Choice
from saec.store.shards import Owned


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch ready to be built and emitted; without a claim, nothing was due."""

    owned: dict[int, Owned]
    choice: Choice = EVERYTHING
    claim: Claim | None = None
    snapshot: Snapshot | None = None


class Ahead:
    """One batch on its way to be ready."""

    def __init__(self, prepare: Callable[[], Prepared]) -> None:
        self._prepare = prepare
        self._ready: Future[Prepared] = Future()
        # A daemon: after a doubt nobody waits for it, and it may hang as long as PostgreSQL does.
        threading.Thread(target=self._run, daemon=True, name="ahead").start()

    def take(self) -> Prepared:
        """Wait until it is ready; raises what preparing it raised."""
        return self._ready.result()

    def _run(self) -> None:
        try:
            self._ready.set_result(self._prepare())
        except BaseException as error:
            self._ready.set_exception(error)
