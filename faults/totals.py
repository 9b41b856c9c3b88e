"""Adds up the summaries of runs: `python -m faults.totals a.json b.json …` prints what they make.

Invariant: every number in docs/reliability.md about runs is printed by this from kept summaries.
"""

import json
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


def add_up(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums over runs, and the waits after each kind of fault: how many, median, worst (s)."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    waits: dict[str, list[float]] = defaultdict(list)
    for summary in summaries:
        for name in ("asked", "answers", "faults", "kills", "findings", "steps"):
            sums[name].update(summary[name])
        for kind, found in summary["waits_s"].items():
            waits[kind] += found
    return {
        "runs": len(summaries),
        "seeds": [summary["seed"] for summary in summaries],
        "minutes": round(sum(summary["minutes"] for summary in summaries), 1),
        "dispatched": sum(summary["dispatched"] for summary in summaries),
        "kills": sum(sums["kills"].values()),
        **{name: dict(found) for name, found in sums.items() if name != "kills"},
        "waits_s": {
            kind: {
                "faults": len(found),
                "median": round(statistics.median(found), 2),
                "worst": max(found),
            }
            for kind, found in sorted(waits.items())
        },
    }


def main() -> int:
    """Print the totals of the summaries named as arguments."""
    summaries = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    sys.stdout.write(json.dumps(add_up(summaries), indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
