"""The size of rounds: small while the broker or the database is slow, whole again afterwards."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from saec.dispatch import round as rounds
from saec.dispatch.pace import Pace
from saec.dispatch.round import Worker
from tests.dispatch.kit import Installed
from tests.dispatch.test_worker import drive, take_all

MakeWorker = Callable[..., Worker]


def test_slow_rounds_halve_it_down_to_a_floor() -> None:
    pace = Pace(5_000)
    sizes = []
    for _ in range(6):
        pace.took(5.0, pace.messages)
        sizes.append(pace.messages)
    assert sizes == [2_500, 1_250, 625, 500, 500, 500]


def test_a_round_that_is_a_little_slow_shrinks_it_a_little() -> None:
    pace = Pace(5_000)
    pace.took(0.125, 5_000)
    assert pace.messages == 4_000


def test_a_round_claimed_before_it_shrank_does_not_shrink_it_twice() -> None:
    pace = Pace(5_000)
    pace.took(0.2, 5_000)
    pace.took(0.2, 5_000)
    assert pace.messages == 2_500


def test_quick_full_rounds_grow_it_again_but_never_above_the_most() -> None:
    pace = Pace(5_000)
    for _ in range(5):
        pace.slower()
    for _ in range(30):
        pace.took(0.05, pace.messages)
    assert pace.messages == 5_000


@pytest.mark.parametrize(("seconds", "messages"), [(0.05, 3), (0.1, 2_500)])
def test_it_stays_when_a_round_was_nearly_empty_or_neither_slow_nor_quick(
    seconds: float, messages: int
) -> None:
    pace = Pace(5_000)
    pace.slower()
    pace.took(seconds, messages)
    assert pace.messages == 2_500


def test_campaigns_get_a_small_part_beside_transactional_messages() -> None:
    pace = Pace(10_000)
    assert pace.beside == 1_000
    pace.slower()
    assert pace.beside == 500
    assert Pace(1).beside == 1


def test_at_least_one_message_whatever_the_settings() -> None:
    pace = Pace(1)
    pace.slower()
    assert pace.messages == 1


def test_commits_that_take_long_shrink_the_batches(
    installed: Installed, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(dispatch_batch_messages=40)
    take_all(worker, installed)
    for _ in range(120):
        installed.ask(lane="CAMPAIGN")
    sizes, emit = [], rounds.emit

    def slow(producer: Any, ledger: str, owned: Any, batch: Any, stands: Any) -> Any:
        sizes.append(len(batch.records))
        threading.Event().wait(0.4)
        return emit(producer, ledger, owned, batch, stands)

    monkeypatch.setattr(rounds, "emit", slow)
    drive(worker, until=lambda: installed.pending() == 0)
    # The second was claimed before the first was known to be slow.
    assert sizes[:3] == [40, 40, 20]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < 20
    assert sum(sizes) == 120
    assert set(installed.sent().values()) == {1}
