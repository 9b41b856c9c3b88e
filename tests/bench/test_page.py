"""The page's tables are those of the results; a target is judged in its own direction."""

import pytest

from bench.page import measured, memory, replaced, targets
from bench.targets import TARGETS, Target

PAGE = "# P\n\n<!-- burst -->\nold\n<!-- end -->\n\n<!-- idle -->\nkept\n<!-- end -->\n"
WEIGHTS = {"dispatch 1": {"peak_mb": 99.5}, "kafka": {"peak_mb": 400.0}}
RESULTS = {
    "part": "burst",
    "exact": True,
    "most_by_others": 0.125,
    "sizes": {"messages": 20_000, "workers": [1, 2]},
    "machine": {"at": "today", "commit": "abc", "load_before": 0.1},
    "figures": {"1 worker, per second": {"median": 50_123.4, "lowest": 4.2, "highest": 60}},
    "ratios": {"1 worker / raw producer": {"median": 0.45, "lowest": 0.4, "highest": 0.5}},
    "sides": {"1 worker": [{"weights": WEIGHTS}]},
}


def test_only_the_place_of_a_part_is_written_anew() -> None:
    text = replaced(PAGE, "burst", "new")
    assert text == PAGE.replace("old", "new")
    assert replaced(text, "unknown", "x") == text


def test_a_table_has_figures_targets_and_what_is_reached() -> None:
    text = measured(RESULTS)
    assert "everything once" in text
    assert "0.12 cores" in text
    assert "| 1 worker, per second | 50,123 | 4.200 | 60.0 |  |  |  |" in text
    assert "| 1 worker / raw producer | 0.450 | 0.400 | 0.500 | 0.4 | 0.55 | must |" in text
    assert "NOT exactly" in measured({**RESULTS, "exact": False})


def test_what_was_to_be_reached_is_put_together_from_all_parts() -> None:
    found = {"median": 2, "lowest": 1, "highest": 3}
    campaign = {**RESULTS, "figures": {}, "ratios": {"campaign / burst": found}}
    rows = targets([campaign, RESULTS]).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| 1 worker / raw producer",
        "| campaign / burst",
    ]


def test_memory_is_the_highest_of_each_of_our_processes() -> None:
    more = {
        **RESULTS,
        "part": "idle",
        "sides": {"x": [{"weights": {"dispatch 2": {"peak_mb": 130}}}]},
    }
    assert memory([RESULTS, more]).splitlines()[2:] == ["| dispatch | 130 | idle, x | must |"]


@pytest.mark.parametrize(("value", "word"), [(0.39, "missed"), (0.4, "must"), (0.55, "aim")])
def test_higher_is_better(value: float, word: str) -> None:
    assert Target(0.4, 0.55).judge(value) == word


@pytest.mark.parametrize(("value", "word"), [(61, "missed"), (60, "must"), (30, "aim")])
def test_lower_is_better(value: float, word: str) -> None:
    assert Target(60, 30).judge(value) == word


def test_every_target_can_be_told_from_its_must() -> None:
    assert all(target.must != target.aim for target in TARGETS.values())
