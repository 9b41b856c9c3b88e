"""Page: writes the tables of docs/performance.md and docs/audit.md anew, and the plots.

A table stands between `<!-- burst -->` and `<!-- end -->`. Invariant: no figure is typed by hand; a
part without results keeps what stands there.
"""

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plots
from bench.part import Options
from bench.ratios import shown
from bench.say import say
from bench.targets import MEMORY_MB, TARGETS

WHAT = __doc__ or ""
EXAMPLE = "python -m bench page --results .bench"
_PAGES = (Path("docs/performance.md"), Path("docs/audit.md"))
_READERS = "The readers saw everything once, nothing early."
_EXACT = {
    "audit": "The plain consumers read every record, and every audit reconciled.",
    "http": "Whatever was answered with 202 stood in the topic, once.",
}
_OURS = ("dispatch", "requests", "customers", "http")
_HEAD = ("figure", "median", "lowest", "highest", "must", "aim", "reached")
Results = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """From where to where."""
    parser.add_argument("--results", type=Path, default=Path(".bench"))
    parser.add_argument(
        "--page", type=Path, nargs="+", default=_PAGES, help="the plots go beside the first"
    )


def run(given: Options) -> bool:
    """Write what there are results for."""
    found = {path.stem: json.loads(path.read_text()) for path in given.results.glob("*.json")}
    for page in given.page:
        page.write_text(written(page.read_text("utf-8"), found), "utf-8")
    plots.draw(found, given.page[0].with_suffix(""))
    say(f"written: {', '.join(map(str, given.page))}, from {', '.join(sorted(found))}")
    return True


def written(text: str, found: Mapping[str, Results]) -> str:
    """The page with what there are results for."""
    for part, results in found.items():
        text = replaced(text, part, measured(results))
    text = replaced(text, "memory", memory(found.values()))
    return replaced(text, "targets", targets(found.values()))


def replaced(text: str, place: str, content: str) -> str:
    """The page with this content at its place, if it has that place."""
    between = re.compile(rf"(<!-- {place} -->\n).*?(<!-- end -->)", re.DOTALL)
    return between.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def measured(results: Results) -> str:
    """The figures and ratios of a part, with where and how they were taken."""
    machine, sizes = results["machine"], results["sizes"]
    said = ", ".join(f"{name} {_size(value)}" for name, value in sizes.items())
    when = f"{machine['at']}, commit {machine['commit']}, load before {machine['load_before']}"
    exact = _EXACT.get(results["part"], _READERS)
    if not results["exact"]:
        exact = "The readers saw NOT exactly what was asked."
    rows = [_row(*one) for one in {**results["figures"], **results["ratios"]}.items()]
    others = f"Others took up to {results['most_by_others']:.2f} cores"
    said_all = f"{when}; {said}. {exact} {others} meanwhile."
    return "\n".join([said_all, "", *_table(_HEAD, rows)])


def targets(found: Iterable[Results]) -> str:
    """What was to be reached, of all parts."""
    measured = {
        name: one
        for results in found
        for name, one in {**results["figures"], **results["ratios"]}.items()
    }
    rows = [_row(name, measured[name]) for name in TARGETS if name in measured]
    return "\n".join(_table(_HEAD, rows))


def memory(found: Iterable[Results]) -> str:
    """The most that each of SAEC's processes took in any part."""
    peaks: dict[str, tuple[float, str]] = {}
    for results in found:
        for side, runs in results["sides"].items():
            for one in runs:
                for name, weight in one["weights"].items():
                    role = name.partition(" ")[0]
                    most = (weight["peak_mb"], f"{results['part']}, {side}")
                    if role in _OURS:
                        peaks[role] = max(peaks.get(role, most), most)
    rows = [
        (role, f"{peak:.0f}", where, MEMORY_MB.judge(peak))
        for role, (peak, where) in sorted(peaks.items())
    ]
    return "\n".join(_table(("process", "MB", "in", "reached"), rows))


def _row(name: str, one: Results) -> Sequence[str]:
    values = [shown(one[which]) for which in ("median", "lowest", "highest")]
    target = TARGETS.get(name)
    if target is None:
        return (name, *values, "", "", "")
    return (name, *values, f"{target.must:g}", f"{target.aim:g}", target.judge(one["median"]))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def _size(value: object) -> str:
    if isinstance(value, list):
        return " / ".join(map(_size, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
