"""Ratios compare sides of the same round; the median counts."""

import pytest

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
