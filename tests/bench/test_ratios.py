"""Ratios compare sides of the same round; the median counts."""

import pytest

from bench.guard import slower
from bench.ratios import Spread, ratio, rotated


def test_a_ratio_is_taken_round_by_round() -> None:
    # One slow round slows both sides: the ratio does not see it.
    assert ratio([50, 5, 60], [100, 10, 100]) == Spread(0.5, 0.5, 0.6, (0.5, 0.5, 0.6))


def test_sides_with_another_number_of_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        ratio([1, 2], [1, 2, 3])


def test_each_side_goes_first_in_turn() -> None:
    orders = [rotated(["a", "b", "c"], number) for number in range(4)]
    assert [order[0] for order in orders] == ["a", "b", "c", "a"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


LIMITS = {"burst: 1 worker / raw producer": 0.5, "ingest: 1 consumer / COPY": 0.4}


def spreads(**medians: float) -> dict[str, Spread]:
    return {
        name: Spread.of([median])
        for name, median in zip(LIMITS, (medians["burst"], medians["ingest"]), strict=True)
    }


def test_the_guard_lets_pass_what_is_at_least_its_share_of_what_is_committed() -> None:
    assert slower(spreads(burst=0.4, ingest=0.9), LIMITS) == []


def test_the_guard_finds_what_is_below_it() -> None:
    (found,) = slower(spreads(burst=0.399, ingest=0.4), LIMITS)
    assert found.startswith("burst: 1 worker")


def test_the_guard_finds_what_was_not_measured_or_never_committed() -> None:
    measured = spreads(burst=0.5, ingest=0.4)
    measured["lateness: new"] = measured.pop("ingest: 1 consumer / COPY")
    assert slower(measured, LIMITS) == [
        "not committed: lateness: new",
        "not measured: ingest: 1 consumer / COPY",
    ]
