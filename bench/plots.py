"""Plots for docs/performance.md, from the results of the suite.

The lateness of every message, throughput against the number of processes, and the time to the first
dispatch and memory against what is pending. Invariant: the same results give the same files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.say import say

_SIZE_IN = (7.0, 3.6)
_BINS_MS = [1, 2, 3, 4, 5, 6, 7, 8, 9, *(round(10 ** (step / 12)) for step in range(12, 49))]
Results = dict[str, Any]


def draw(found: Mapping[str, Results], directory: Path) -> None:
    """Draw what there are results for."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {"lateness": _lateness, "burst": _rates, "ingest": _rates, "restart": _restart}
    for part in drawn.keys() & found.keys():
        figure = drawn[part](found[part])
        figure.tight_layout()
        figure.savefig(directory / f"{part}.svg", metadata={"Date": None})
        say(f"drawn: {directory / part}.svg")


def _figure(columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes; matplotlib is there only once `make bench` installed it."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "saec", "font.size": 9, "axes.grid": True})
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, columns, figsize=_SIZE_IN)
    return figure, axes


def _lateness(results: Results) -> Any:
    """One line a setting: how many messages were so late, all rounds together."""
    figure, axes = _figure()
    for side, runs in results["sides"].items():
        places = [ms + 0.5 for one in runs for ms, _ in one["histogram"]]
        counts = [count for one in runs for _, count in one["histogram"]]
        shares = [count / sum(counts) * 100 for count in counts]
        axes.hist(places, _BINS_MS, weights=shares, histtype="step", label=side)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("lateness in ms, from due to read")
    axes.set_ylabel("% of messages")
    axes.legend()
    return figure


def _rates(results: Results) -> Any:
    """How many a second by the number of processes, beside the limit; every run a line."""
    figure, axes = _figure()
    sides = list(results["sides"])
    for place, side in enumerate(sides):
        rates = [one["rate"] / 1000 for one in results["sides"][side]]
        axes.bar(place, sorted(rates)[len(rates) // 2], width=0.6)
        axes.plot([place] * len(rates), rates, "k_")
    axes.set_xticks(range(len(sides)), sides)
    axes.set_ylabel("thousand a second")
    return figure


def _restart(results: Results) -> Any:
    """Time to the first dispatch, and memory, by what is pending; every kill a point."""
    figure, (left, right) = _figure(columns=2)
    sides = list(results["sides"])
    for axes, what, label in (
        (left, "first_dispatch_s", "seconds from start to first dispatch"),
        (right, "peak_mb", "peak memory of the worker in MB"),
    ):
        for place, side in enumerate(sides):
            values = [one[what] for one in results["sides"][side]]
            axes.plot([place] * len(values), values, "o", alpha=0.6)
        axes.set_xticks(range(len(sides)), sides)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
    return figure
