"""The command: `python -m faults --seed 1 --minutes 3`. Exits with 1 when anything was found."""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from faults.mutations import FOCUS, MUTATIONS
from faults.run import Plan, Run, keep_topics
from faults.schedule import KINDS
from faults.steps import REQUIRED
from saec.logs import log_beside_output


def main() -> int:
    """Run, print the summary, keep what is needed when something was found."""
    log_beside_output()
    given = _arguments()
    focus = FOCUS.get(given.mutation)
    plan = Plan(
        given.seed,
        given.minutes,
        every_s=given.every,
        per_second=given.rate,
        mutation=given.mutation,
        only=tuple(given.only or (focus.kinds if focus else ())),
        steps=focus.steps if focus else REQUIRED,
        all_steps=given.all_steps,
    )
    _say(f"seed {plan.seed}: python -m faults {' '.join(sys.argv[1:])}")
    # A short path: PostgreSQL's socket stands below it.
    directory = Path(tempfile.mkdtemp(prefix="saec-faults-"))
    run = Run(plan, directory, say=_say)
    summary = run.execute()
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (directory / "summary.json").write_text(text)
    _say(text if given.verbose else _short(summary))
    if given.json:
        given.json.write_text(text)
    _keep(run, directory, given.keep, found=not summary["ok"])
    return 0 if summary["ok"] else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _keep(run: Run, directory: Path, wanted: Path | None, *, found: bool) -> None:
    if not found and wanted is None:
        shutil.rmtree(directory, ignore_errors=True)
        return
    keep_topics(run.topics, directory)
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        for name in ("logs", "summary.json", "faults.jsonl", "topics.jsonl"):
            source = directory / name
            if source.is_dir():
                shutil.copytree(source, wanted / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy(source, wanted / name)
        shutil.rmtree(directory, ignore_errors=True)
    _say(f"logs, seed, faults and topics are kept in {wanted or directory}")


def _short(summary: dict[str, object]) -> str:
    lines = [f"{name}: {summary[name]}" for name in ("asked", "dispatched", "answers", "faults")]
    lines += [f"kills: {summary['kills']}", f"steps not hit: {summary['missed']}"]
    lines += [f"findings: {summary['findings']}"]
    lines += [str(line) for line in summary["first"]]  # type: ignore[attr-defined]
    seconds = summary["noticed_s"]
    lines.append("OK" if summary["ok"] else f"FOUND after {seconds} s")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between faults")
    parser.add_argument("--rate", type=float, default=15.0, help="events a second")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS))
    parser.add_argument("--only", action="append", choices=sorted(KINDS), help="kinds of faults")
    parser.add_argument("--all-steps", action="store_true", help="fail if a step was not hit")
    parser.add_argument("--keep", type=Path, help="keep logs and topics there, in any case")
    parser.add_argument("--json", type=Path, help="write the summary there")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
