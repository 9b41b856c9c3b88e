"""Tells when Kafka does not answer, and when it does again.

librdkafka complains of every connection of every client, again and again, and never says that it
is over. Invariant: its lines about connections are not logged; they make this look, with a client
of its own, whether Kafka answers, and what is logged is what it sees.
"""

import logging
import threading

import structlog

from saec.clock import Clock
from saec.errors import BrokerUnavailableError
from saec.kafka import clients
from saec.kafka.topics import partition_counts
from saec.outage import SAY_AGAIN_S, Outage
from saec.settings import Settings

_LOOK_TIMEOUT_S = 3.0
_LOOK_AGAIN_S = 1.0
# What librdkafka calls its lines about a connection that failed, or on which nothing comes.
_CONNECTION = {"FAIL", "ERROR", "REQTMOUT", "SESSTMOUT"}
# And about a transaction: who tried it says that it failed.
_TRANSACTION = {"TXNERR", "ADDOFFSETS", "ADDPARTS", "GETPID", "PIDFLUSH"}

_log = structlog.get_logger("saec.kafka")


class BrokerWatch(logging.Filter):
    """The filter of librdkafka's lines. `start` lets it look."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._outage = Outage(_log, clock, "Kafka does not answer")
        self._suspected = threading.Event()
        self._never = threading.Event()
        self._why = ""
        self._said_s: dict[str, float] = {}

    def start(self) -> None:
        """Take over the lines of every client of this process."""
        logging.getLogger("saec.kafka").addFilter(self)
        threading.Thread(target=self._look_when_suspected, daemon=True, name="watch").start()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is logged as it is: others than those, one of a kind every 30 s."""
        facility, _, text = [str(part) for part in (*(record.args or ()), "", "", "")[:3]]
        if facility in _CONNECTION:
            self._why = text
            self._suspected.set()
            return False
        return facility not in _TRANSACTION and self._is_new(facility)

    def look(self) -> bool:
        """Whether Kafka answers; says so when that has changed."""
        try:
            partition_counts(clients.admin(self._settings), _LOOK_TIMEOUT_S)
        except BrokerUnavailableError as error:
            self._outage.failed(error)
            return False
        self._outage.over()
        return True

    def _look_when_suspected(self) -> None:
        while self._suspected.wait():
            if self.look():
                # One of several brokers, or a connection that was cut.
                if self._is_new("connection"):
                    _log.warning("connection to a broker lost", error=self._why)
            else:
                while not self.look():
                    self._clock.wait(self._never, _LOOK_AGAIN_S)
                self._said_s["connection"] = self._clock.monotonic_s()
            self._suspected.clear()

    def _is_new(self, facility: str) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s.get(facility, -SAY_AGAIN_S) < SAY_AGAIN_S:
            return False
        self._said_s[facility] = now_s
        return True
