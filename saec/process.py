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
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from saec import installation
from saec.clock import Clock, SystemClock
from saec.errors import BrokerUnavailableError, ConfigurationError, SaecError, StoreUnavailableError
from saec.settings import Settings, load_settings
from saec.store.engine import Engine, open_engine
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
        """Make `run` return soon; called from another thread."""
        ...

    def close(self) -> None:
        """Give back what the loop holds."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process works with, once database and broker were seen to fit."""

    settings: Settings
    engine: Engine
    clock: Clock
    shards: int


def run(role: str, make: Callable[[Parts], Loop]) -> int:
    """Run the loop that `make` makes until the process is told to stop; returns its exit code."""
    try:
        settings = load_settings()
        configure_logs(settings)
        engine = open_engine(settings.database_url, application=f"saec-{role}")
    except ConfigurationError as error:
        _log.error("stopped", role=role, error=str(error))
        return EXIT_CONFIGURATION
    try:
        _run(role, settings, engine, make)
    except SaecError as error:
        _log.error("stopped", role=role, error=str(error), kind=type(error).__name__)
        return EXIT_CONFIGURATION
    finally:
        engine.dispose()
    _log.info("stopped", role=role)
    return 0


def _run(role: str, settings: Settings, engine: Engine, make: Callable[[Parts], Loop]) -> None:
    stopping, loops, clock = threading.Event(), list[Loop](), SystemClock()
    _on_signals(stopping, loops)
    stands = _wait_for_parts(settings, clock, stopping)
    if stands is None:
        return
    loop = make(Parts(settings, engine, clock, stands.shards))
    loops.append(loop)
    if stopping.is_set():
        loop.stop()
    _log.info("ready", role=role, topic_prefix=settings.topic_prefix, shards=stands.shards)
    try:
        loop.run()
    finally:
        loop.close()


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
    """Hear of signals in a thread: a handler could not safely set an event that is waited on."""
    heard, hear = os.pipe()
    os.set_blocking(hear, False)
    signal.set_wakeup_fd(hear, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)

    def listen() -> None:
        os.read(heard, 1)
        stopping.set()
        for loop in loops:
            loop.stop()
        os.read(heard, 1)
        os._exit(1)

    threading.Thread(target=listen, daemon=True, name="signals").start()
