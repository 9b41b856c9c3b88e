"""A part that is held against targets fails when it misses one."""

import pytest

from bench.outcome import Outcome
from bench.ratios import Spread
from bench.targets import TARGETS, Target

CLAIM = "claim, open transaction / clean"


def outcome(median: float) -> Outcome:
    return Outcome("wear", {}, {}, ratios={CLAIM: Spread.of([median])})


@pytest.mark.parametrize(("median", "well"), [(1.0, True), (2.0, True), (2.01, False)])
def test_a_ratio_is_held_against_its_target(median: float, *, well: bool) -> None:
    held = outcome(median)
    held.hold({CLAIM: Target(2, 1.25), "of another part": Target(1, 2)})
    assert held.well == well
    assert ("MISSED" in held.text()) != well


def test_what_worn_tables_may_cost_a_claim_is_stated() -> None:
    assert {CLAIM, "claim, never vacuumed / clean"} <= TARGETS.keys()
