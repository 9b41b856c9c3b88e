"""Looks at every state of a model of the protocols: `python -m faults.checker --help`.

Invariant: success means that every scope was exhausted without a broken promise, and that every
mutation asked for was noticed.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from faults.protocol.apart import ApartScope
from faults.protocol.ingest import IngestScope
from faults.protocol.lost_ends import LostEndsScope
from faults.protocol.mutations import MUTATIONS, SCOPES, AnyScope, Mutation, model
from faults.protocol.search import Found, search
from faults.protocol.sources import SourcesScope

_EXAMPLE = """\
example:
  python -m faults.checker                        every state within the scopes, no mutation
  python -m faults.checker --mutation no-fence    its shortest counterexample, step by step
  python -m faults.checker --all                  both, with every mutation

Exits with 0 when no promise is broken and every mutation is noticed, else with 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    asked = _parser().parse_args(arguments)
    began_s = time.perf_counter()
    say: Callable[[str], None] = (lambda _text: None) if asked.json else _say
    whole = _whole(asked, say) if asked.mutation is None else []
    names = {asked.mutation} if asked.mutation else {one.name for one in MUTATIONS}
    chosen = [one for one in MUTATIONS if one.name in names] if asked.mutation or asked.all else []
    broken = [
        _mutated(mutation, say, in_full=asked.trace or bool(asked.mutation)) for mutation in chosen
    ]
    good = not any(row["wrong"] for row in whole) and all(row["wrong"] for row in broken)
    total = {
        "good": good,
        "states": sum(row["states"] for row in whole),
        "transitions": sum(row["transitions"] for row in whole),
        "seconds": round(time.perf_counter() - began_s, 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if asked.json:
        _say(json.dumps({**total, "scopes": whole, "mutations": broken}, indent=2))
    else:
        say(_summary(total, whole, broken))
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faults.checker",
        description="Looks at every state of a model of the dispatch and ingest protocols, within "
        "stated bounds, and at broken variants of it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [mutation.name for mutation in MUTATIONS]
    parser.add_argument("--mutation", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--all", action="store_true", help="every mutation as well")
    parser.add_argument("--trace", action="store_true", help="print every counterexample in full")
    parser.add_argument(
        "--scope",
        choices=[s.name for s in SCOPES],
        metavar="NAME",
        help="only this scope: " + "; ".join(s.name for s in SCOPES),
    )
    parser.add_argument("--faults", type=int, metavar="N", help="faults in every scope")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _whole(asked: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every scope without mutation."""
    rows = []
    for scope in SCOPES:
        if asked.scope not in (None, scope.name):
            continue
        if asked.faults is not None:
            scope = scope._replace(faults=asked.faults)  # noqa: PLW2901
        found = search(model(scope))
        say(f"{scope.name} ({bounds(scope)})")
        say(
            f"  {found.states:,} states, {found.transitions:,} transitions, "
            f"up to {found.depth} steps, {found.seconds:.1f} s: {found.wrong or 'no violation'}"
        )
        if found.wrong:
            say(readable(found))
        rows.append(_row(scope.name, bounds(scope), found))
    return rows


def _mutated(mutation: Mutation, say: Callable[[str], None], *, in_full: bool) -> dict[str, Any]:
    found = search(model(mutation.scope, mutation.name))
    verdict = f"{len(found.trace)} steps: {found.wrong}" if found.wrong else "NOT NOTICED"
    say(
        f"{mutation.name}: {mutation.what}\n  {verdict} "
        f"({found.states:,} states, {found.seconds:.1f} s)"
    )
    if in_full and found.wrong:
        say(f"  Within: {bounds(mutation.scope)}.")
        say(readable(found))
    return {"what": mutation.what, **_row(mutation.name, bounds(mutation.scope), found)}


def _row(name: str, within: str, found: Found) -> dict[str, Any]:
    return {
        "name": name,
        "bounds": within,
        "states": found.states,
        "transitions": found.transitions,
        "depth": found.depth,
        "seconds": round(found.seconds, 1),
        "wrong": found.wrong,
        "trace": [_step_text(label) for label in found.trace],
    }


def _summary(
    total: dict[str, Any], whole: list[dict[str, Any]], broken: list[dict[str, Any]]
) -> str:
    noticed = sum(bool(row["wrong"]) for row in broken)
    parts = [f"{noticed} of {len(broken)} mutations noticed"] if broken else []
    if whole:
        parts.insert(0, f"{total['states']:,} states, {total['transitions']:,} transitions")
    return f"{'; '.join(parts)}; {total['seconds']} s, {total['memory_mb']} MB"


def bounds(scope: AnyScope) -> str:
    """The bounds of a scope in words."""
    if isinstance(scope, SourcesScope):
        records = [what for partition in scope.partitions for what in partition]
        lost = [f"up to {scope.loses} commits lost"] if scope.loses else []
        parts = [
            "2 consumers",
            "1 worker",
            _count(len(scope.partitions), "partition"),
            _count(sum(what > 0 for what in records), "request"),
            _count(sum(what < 0 for what in records), "cancel"),
            _count(scope.faults, "fault"),
        ]
        return ", ".join([*parts, *lost])
    if isinstance(scope, IngestScope):
        return (
            f"2 consumers, 1 partition, {scope.records} records, batches of {scope.batch}, "
            f"{scope.faults} faults"
        )
    if isinstance(scope, LostEndsScope):
        return f"{scope.batches} batches, {scope.faults} faults"
    if isinstance(scope, ApartScope):
        cancels, faults = _count(len(scope.after), "cancel"), _count(scope.faults, "fault")
        return f"2 consumers of each of 2 partitions, 1 request, {cancels}, {faults}"
    parts = [
        "2 workers",
        _count(scope.shards, "shard"),
        _count(len(scope.slices), "slice"),
        _count(len(scope.requests), "cancel"),
        _count(scope.faults, "fault"),
    ]
    if scope.late:
        parts.insert(3, f"{scope.late.bit_count()} of them late")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def readable(found: Found) -> str:
    """A counterexample, a line a step."""
    lines = [f"  {at:3}  {_step_text(label)}" for at, label in enumerate(found.trace, 1)]
    return "\n".join([*lines, f"       => {found.wrong}"])


def _step_text(label: tuple[int, str, str]) -> str:
    who, step, detail = label
    name = f"{('A', 'B', 'worker')[who]}: " if who >= 0 else ""
    return name + step + (f": {detail}" if detail else "")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
