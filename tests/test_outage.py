"""How a trouble that lasts is told: when it is stuck, and what is told again."""

import threading

import pytest
import structlog
from structlog.testing import capture_logs

from saec.errors import StoreUnavailableError
from saec.outage import STUCK_FAILURES, Outage, Reminder


class MovedClock:
    """A clock that only a test moves."""

    now_s = 1_000.0

    def monotonic_s(self) -> float:
        """What it was moved to."""
        return self.now_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Nobody waits here."""
        raise NotImplementedError


def fail(outage: Outage, clock: MovedClock, *words: str) -> None:
    """Fail, one a minute."""
    for error in words:
        outage.failed(StoreUnavailableError(error))
        clock.now_s += 60


def test_the_same_failure_again_and_again_becomes_an_error() -> None:
    clock = MovedClock()
    outage = Outage(structlog.get_logger(), clock, "batch abandoned")
    same = [f"no answer for record {n}" for n in range(STUCK_FAILURES)]
    with capture_logs() as said:
        fail(outage, clock, *same[:-1])
        assert outage.stuck is None
        fail(outage, clock, same[-1])
    assert outage.stuck == f"{STUCK_FAILURES} times in a row: {same[-1]}"
    levels = [line["log_level"] for line in said]
    assert levels == ["warning"] * (STUCK_FAILURES - 1) + ["error"]
    assert said[-1]["failures"] == STUCK_FAILURES
    assert said[-1]["lasts_s"] == 60.0 * (STUCK_FAILURES - 1)
    outage.over()
    assert outage.stuck is None


def test_failures_of_several_kinds_are_not_stuck() -> None:
    clock = MovedClock()
    outage = Outage(structlog.get_logger(), clock, "batch abandoned")
    fail(outage, clock, *["no broker", "no database"] * STUCK_FAILURES)
    assert outage.stuck is None


@pytest.mark.parametrize(("after_s", "due"), [(0, False), (599, False), (600, True)])
def test_what_stands_still_is_told_again(after_s: int, *, due: bool) -> None:
    clock = MovedClock()
    reminder = Reminder(clock)
    assert reminder.is_due("this")
    assert reminder.is_due("that")
    clock.now_s += after_s
    assert reminder.is_due("this") == due
    reminder.keep(["that"])
    assert reminder.is_due("this")
