"""The guard fails on what is slower twice, not on what is slower once or on a busy machine."""

from collections.abc import Iterator
from typing import Any

from bench.guard import is_well, slower
from bench.meter import OTHERS, Weight
from bench.outcome import Outcome, Run
from bench.part import Part
from bench.ratios import Spread

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


def small(*measurements: list[float], others: float = 0.0) -> Part:
    """A part that comes to these ratios, one measurement after the other."""
    outcomes: Iterator[list[float]] = iter(measurements)

    def measure(*_: Any) -> Outcome:
        weights = {OTHERS: Weight(0.0, 0.0, others)}
        outcome = Outcome("burst", {}, {}, {"side": [Run(1, weights=weights)]})
        outcome.ratios["1 worker / raw producer"] = Spread.of(next(outcomes))
        return outcome

    return Part("burst", "", "", lambda _: None, measure)


def well(part: Part) -> bool:
    return is_well(None, part, (), LIMITS)  # type: ignore[arg-type]


def test_what_is_fast_is_measured_once() -> None:
    assert well(small([0.1, 0.5, 0.5]))


def test_what_is_slower_is_measured_once_more_and_the_rounds_of_both_count() -> None:
    assert well(small([0.3, 0.3, 0.5], [0.5, 0.5, 0.5]))
    assert not well(small([0.3, 0.3, 0.3], [0.3, 0.5, 0.5]))


def test_what_is_slower_on_a_busy_machine_is_not_judged() -> None:
    assert well(small([0.3], [0.3], others=0.6))
    assert not well(small([0.3], [0.3], others=0.4))
