"""What waits and what is halted: told at first sight and again, and when waiting becomes a halt."""

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from saec.dispatch.errors import HaltError
from saec.dispatch.suspended import Suspended
from saec.dispatch.takeover import Waiting

OPEN = "a transaction is open in its ledger"


class MovedClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic_s(self) -> float:
        """What it was moved to."""
        return self.now_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Nobody waits here."""
        raise NotImplementedError


@pytest.fixture
def clock() -> MovedClock:
    """A clock."""
    return MovedClock()


@pytest.fixture
def suspended(clock: MovedClock) -> Suspended:
    """Of a worker that never writes."""
    nowhere: Any = None
    return Suspended(nowhere, clock)


def lines(said: list[Any]) -> list[tuple[str, str, int]]:
    """Level, event and shard of each line."""
    return [(str(line["log_level"]), str(line["event"]), int(line["shard"])) for line in said]


def try_for(
    suspended: Suspended, clock: MovedClock, seconds: int, waiting: dict[int, Waiting]
) -> list[tuple[str, str, int]]:
    """Find the same at every takeover, one a second; returns what was told."""
    with capture_logs() as said:
        for _ in range(seconds):
            clock.now_s += 1
            suspended.tried(frozenset(), waiting)
    return lines(said)


def test_a_transaction_that_hangs_at_one_place_for_five_minutes_is_a_halt(
    suspended: Suspended, clock: MovedClock
) -> None:
    told = try_for(suspended, clock, 300, {1: Waiting(OPEN, open_at=7)})
    assert told == [("warning", "shard waits", 1)]
    clock.now_s += 2
    with pytest.raises(HaltError) as error:
        suspended.tried(frozenset(), {1: Waiting(OPEN, open_at=7), 2: Waiting(OPEN, open_at=7)})
    assert error.value.reasons.keys() == {1}


@pytest.mark.parametrize(
    "found",
    [
        [Waiting("its ledger could not be read in time", costly=True)],
        [Waiting("its ledger partition has no leader")],
        [Waiting("its last owner could not be fenced: no answer", costly=True)],
        [Waiting(OPEN)],  # a replica is missing that would have to write its end
        [Waiting(OPEN, open_at=7), Waiting(OPEN, open_at=9)],  # one after the other
        [Waiting(OPEN, open_at=7), Waiting(OPEN)],
    ],
)
def test_whatever_else_is_waited_for_is_never_a_halt(
    suspended: Suspended, clock: MovedClock, found: list[Waiting]
) -> None:
    told = []
    for turn in range(40):
        told += try_for(suspended, clock, 50, {1: found[turn % len(found)]})
    levels = [level for level, *_ in told]
    assert levels == ["warning", "error", "error", "error"]  # after 5 s, 5, 15 and 25 minutes
    assert suspended.waiting.keys() == {1}
    suspended.tried(frozenset({1}), {})
    assert suspended.waiting == {}


def test_what_passes_by_itself_is_not_told(suspended: Suspended, clock: MovedClock) -> None:
    assert try_for(suspended, clock, 4, {1: Waiting(OPEN, open_at=7)}) == []
    suspended.tried(frozenset({1}), {})
    assert try_for(suspended, clock, 4, {1: Waiting(OPEN, open_at=9)}) == []


def test_what_takes_seconds_to_find_out_is_tried_more_rarely(
    suspended: Suspended, clock: MovedClock
) -> None:
    def pause_s(waiting: Waiting) -> float:
        suspended.tried(frozenset(), {1: waiting})
        began_s = clock.now_s
        while suspended.out():
            clock.now_s += 0.5
        return clock.now_s - began_s

    assert [pause_s(Waiting(OPEN)) for _ in range(6)] == [0.5, 0.5, 1.0, 2.0, 5.0, 5.0]
    assert pause_s(Waiting("slow", costly=True)) == 30.0


def test_what_is_halted_is_told_at_first_sight_and_every_ten_minutes(
    suspended: Suspended, clock: MovedClock
) -> None:
    with capture_logs() as said:
        for _ in range(121):  # as workers look, every ten seconds
            suspended.found_halted({3: "for a test"})
            suspended.tried(frozenset(), {})
            clock.now_s += 10
    assert lines(said) == [("error", "shard halted", 3)] * 3
    with capture_logs() as said:
        suspended.tried(frozenset({3}), {})  # a person cleared it
        suspended.found_halted({3: "for a test"})  # and it comes again
    assert lines(said) == [("error", "shard halted", 3)]


def test_a_halt_is_told_once_by_whoever_finds_it(suspended: Suspended, clock: MovedClock) -> None:
    with capture_logs() as said:
        suspended.halt(HaltError({3: "for a test"}))
        clock.now_s += 10
        suspended.found_halted({3: "for a test"})  # as the database says by then
    assert lines(said) == [("error", "shard halted", 3)]
