"""A batch on its way to be stored: decoded in a thread of its own, while another one is stored.

Invariant: the thread touches nothing but the records it was given, so a batch that is not wanted
any more is simply let go of; what decoding raises is raised to whoever takes the batch.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from saec.kafka.intake import Batch
from saec.kafka.records import Incoming


class Ahead:
    """One batch, and what it is decoded to."""

    def __init__(self, batch: Batch, decode: Callable[[Sequence[Incoming]], Any]) -> None:
        self.batch = batch
        self._decode = decode
        self._ready: Future[Any] = Future()
        # A daemon: at an end nobody waits for a batch that is not wanted any more.
        threading.Thread(target=self._run, daemon=True, name="ahead").start()

    def take(self) -> Any:
        """Wait until it is decoded; raises what decoding it raised."""
        return self._ready.result()

    def _run(self) -> None:
        try:
            self._ready.set_result(self._decode(self.batch.records))
        except BaseException as error:
            self._ready.set_exception(error)
