"""What every SAEC process does around its loop: logs, signals, a start that waits, a clean end.

Invariant: SIGTERM and SIGINT end the loop after the batch it is in and exit with 0; a second one
ends the process at once.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import structlog

from saec import installation
from saec.clock import Clock
from saec.errors import BrokerUnavailableError, SaecError, StoreUnavailableError
from saec.settings import Settings
from saec.store.installation import Installation

_START_RETRY_S = 1.0
EXIT_CONFIGURATION = 3

_log = structlog.get_logger("saec.process")


class Loop(Protocol):
    """A loop that a process runs."""

    def run(self) -> None:
        """Loop until `stop`."""
        ...

    def stop(self) -> None:
        """Make `run` return soon; called from a signal handler."""
        ...

    def close(self) -> None:
        """Give back what the loop holds."""
        ...


def run(role: str, settings: Settings, clock: Clock, make: Callable[[Installation], Loop]) -> int:
    """Run one process until it is told to stop; returns its exit code."""
    configure_logs(settings)
    stopping = threading.Event()
    loops: list[Loop] = []
    _on_signals(stopping, loops)
    try:
        stands = _wait_for_parts(settings, clock, stopping)
        if stands is None:
            return 0
        loop = make(stands)
        loops.append(loop)
        if stopping.is_set():
            loop.stop()
        _log.info("ready", role=role, topic_prefix=settings.topic_prefix, shards=stands.shards)
        try:
            loop.run()
        finally:
            loop.close()
    except SaecError as error:
        _log.error("stopped", role=role, error=str(error), kind=type(error).__name__)
        return EXIT_CONFIGURATION
    _log.info("stopped", role=role)
    return 0


def configure_logs(settings: Settings) -> None:
    """One line an event on stderr: JSON, or colours on a terminal; also of the libraries."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    renderer = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def _wait_for_parts(
    settings: Settings, clock: Clock, stopping: threading.Event
) -> Installation | None:
    """The installation, as soon as database and broker answer; None when told to stop."""
    said = False
    while not stopping.is_set():
        try:
            return installation.check(settings)
        except (StoreUnavailableError, BrokerUnavailableError) as error:
            if not said:
                _log.warning("waiting for PostgreSQL and Kafka", error=str(error))
                said = True
            clock.wait(stopping, _START_RETRY_S)
    return None


def _on_signals(stopping: threading.Event, loops: list[Loop]) -> None:
    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()
        for loop in loops:
            loop.stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
