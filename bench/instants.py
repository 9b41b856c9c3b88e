"""Now, and waiting for an instant, by the machine's clock, which is PostgreSQL's as well."""

import threading
import time


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


def pause(seconds: float) -> None:
    """Wait for so long."""
    threading.Event().wait(seconds)


def wait_until_ms(at_ms: int) -> None:
    """Wait for an instant."""
    pause(max(0.0, at_ms / 1000 - time.time()))


class TooSlowError(RuntimeError):
    """Something that had to be ready by an instant was not: the figure would mean nothing."""


def check_ahead(at_ms: int) -> None:
    """Make sure that an instant has not come yet.

    Raises:
        TooSlowError: it has.
    """
    if now_ms() >= at_ms:
        raise TooSlowError("what was to be due was not stored in time: give it more (--lead)")
