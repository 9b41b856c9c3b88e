"""What every SAEC process does around its loop: logs, signals, a start that waits, a clean end.

Invariant: SIGTERM and SIGINT end the loop after the batch it is in, and the process with 0 within
10 s; a call that does not come back by then is left where it is, which is as safe as a crash. A
second signal ends the process at once.
"""

import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from saec import encryption, installation
from saec.clock import Clock, SystemClock
from saec.errors import BrokerUnavailableError, SaecError, StoreUnavailableError
from saec.health.heart import Heart
from saec.kafka.watch import BrokerWatch
from saec.logs import configure_logs
from saec.outage import Outage, described
from saec.settings import Settings, load_settings
from saec.store.engine import Engine, open_engine
from saec.store.installation import Installation

_START_RETRY_S = 1.0
_OBJECTS_PER_LOOK = 100_000
# For how long a thread that computes keeps the one waiting that has PostgreSQL's answer. Python's
# own 5 ms cost a fifth of a burst.
_TURN_S = 0.0005
_STOP_WAITING_S = 0.5
LONGEST_STOP_S = 8.0
EXIT_AT_ONCE = 1
EXIT_CONFIGURATION = 3
EXIT_UNEXPECTED = 4

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
    configure_logs(role)
    stopping, loops = threading.Event(), list[Loop]()
    _on_signals(stopping, loops)
    try:
        settings = load_settings()
        configure_logs(role, settings.log_level, settings.instance)
        engine = open_engine(settings.database_url, application=f"saec-{role}")
        for one in encryption.exposed(settings):
            _log.warning("traffic can be read by others", what=one.what, advice=one.advice)
        try:
            with Heart(settings, role, SystemClock()) as heart:
                _run(settings, engine, make, stopping, loops, heart)
        finally:
            engine.dispose()
    except SaecError as error:
        _log.error("stopped", **described(error))
        return EXIT_CONFIGURATION
    except Exception as error:
        _log.error("stopped", **described(error))
        return EXIT_UNEXPECTED
    _log.info("stopped")
    return 0


def _run(
    settings: Settings,
    engine: Engine,
    make: Callable[[Parts], Loop],
    stopping: threading.Event,
    loops: list[Loop],
    heart: Heart,
) -> None:
    clock = SystemClock()
    stands = _wait_for_parts(settings, clock, stopping, heart)
    if stands is None:
        return
    BrokerWatch(settings, clock).start()
    loop = make(Parts(settings, engine, clock, stands.shards))
    heart.watch(loop)
    loops.append(loop)
    if stopping.is_set():
        loop.stop()
    _look_for_cycles_rarely()
    sys.setswitchinterval(_TURN_S)
    _log.info("ready", topic_prefix=settings.topic_prefix, shards=stands.shards)
    try:
        loop.run()
    finally:
        loop.close()


def _look_for_cycles_rarely() -> None:
    """A batch is a hundred thousand objects without a cycle; looking for one took a third of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_LOOK, *gc.get_threshold()[1:])


def _wait_for_parts(
    settings: Settings, clock: Clock, stopping: threading.Event, heart: Heart
) -> Installation | None:
    """The installation, as soon as database and broker answer; None when told to stop."""
    outage = Outage(_log, clock, "waiting for PostgreSQL and Kafka")
    while not stopping.is_set():
        try:
            stands = installation.check(settings)
        except (StoreUnavailableError, BrokerUnavailableError) as error:
            outage.failed(error)
            heart.starting(outage.waits or "starts")
            clock.wait(stopping, _START_RETRY_S)
        else:
            outage.over()
            return stands
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
        _log.info("stopping")
        stopping.set()
        for loop in loops:
            loop.stop()
        # Without a loop there is nothing to give back, and the main thread may sit in a call.
        bound_s = LONGEST_STOP_S if loops else _STOP_WAITING_S
        if select.select([heard], [], [], bound_s)[0]:
            os._exit(EXIT_AT_ONCE)
        if loops:
            _log.warning("stopped without giving back", after_s=bound_s)
        else:
            _log.info("stopped")
        os._exit(0)

    threading.Thread(target=listen, daemon=True, name="signals").start()
