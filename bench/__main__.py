"""The commands: `python -m bench burst`, and so on; `python -m bench all` for every part.

Exits with 1 when a reader did not see exactly what was asked for, the guard found something, or
worn tables slow a claim by more than the stated factor.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import burst, campaign, guard, idle, ingest, lateness, page, profile, restart, wear
from bench.audit import part as audit
from bench.http import part as http
from bench.lab import Lab, lab
from bench.part import Options, Part
from bench.peers import part as peers
from bench.say import say

PARTS = (
    burst.PART,
    campaign.PART,
    ingest.PART,
    lateness.PART,
    restart.PART,
    idle.PART,
    wear.PART,
    peers.PART,
    audit.PART,
    http.PART,
)
RESULTS = Path(".bench")


@dataclass(frozen=True)
class Command:
    """What can be asked for. `run` says whether all is well."""

    name: str
    what: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Options], bool]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Example: python -m bench burst --messages 20000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chosen = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = {command.name: command for command in _commands()}
    for command in commands.values():
        added = chosen.add_parser(
            command.name,
            help=command.what.partition("\n")[0],
            description=command.what,
            epilog=f"Example: {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(added)
    given = parser.parse_args()
    return 0 if commands[given.command].run(given) else 1


def _commands() -> Sequence[Command]:
    return (
        *(_command(part) for part in PARTS),
        Command(
            "all",
            "Every part, or some, on the same parts: what is pending is stored once.",
            "python -m bench all --parts burst,lateness --set lateness.seconds=60",
            _add_all,
            _run_all,
        ),
        Command("guard", guard.WHAT, guard.EXAMPLE, guard.add_options, _in_lab(guard.run)),
        Command(
            "profile", profile.WHAT, profile.EXAMPLE, profile.add_options, _in_lab(profile.run)
        ),
        Command("page", page.WHAT, page.EXAMPLE, page.add_options, page.run),
    )


def _command(part: Part) -> Command:
    def add_options(parser: argparse.ArgumentParser) -> None:
        part.add_options(parser)
        _add_results(parser)

    def run(running: Lab, given: Options) -> bool:
        return _run_part(running, part, given, given.results)

    return Command(part.name, part.what, part.example, add_options, _in_lab(run))


def _in_lab(run: Callable[[Lab, Options], bool]) -> Callable[[Options], bool]:
    def started(given: Options) -> bool:
        with lab() as running:
            return run(running, given)

    return started


def _run_all(given: Options) -> bool:
    chosen = [(part, _given_for(part, given.set)) for part in given.parts]
    with lab() as running:
        found = [_run_part(running, part, sizes, given.results) for part, sizes in chosen]
    return all(found)


def _run_part(running: Lab, part: Part, given: Options, results: Path) -> bool:
    say(f"== {part.name}")
    outcome = part.run(running, given)
    outcome.write(results / f"{part.name}.json")
    say(outcome.text())
    return outcome.well


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help=f"directory of the JSON files ({RESULTS})"
    )


def _add_all(parser: argparse.ArgumentParser) -> None:
    names = ",".join(part.name for part in PARTS)
    parser.add_argument(
        "--parts", type=_parts, default=PARTS, metavar="A,B", help=f"these alone, of {names}"
    )
    parser.add_argument(
        "--set",
        type=_size,
        action="append",
        default=[],
        metavar="PART.OPTION=VALUE",
        help="another size than the default; may be given several times",
    )
    _add_results(parser)


def _parts(text: str) -> list[Part]:
    return [_part(name) for name in text.split(",")]


def _size(text: str) -> tuple[Part, str]:
    name, _, size = text.partition(".")
    return _part(name), f"--{size}"


def _part(name: str) -> Part:
    for part in PARTS:
        if part.name == name:
            return part
    raise argparse.ArgumentTypeError(f"there is no part {name!r}")


def _given_for(part: Part, sizes: Sequence[tuple[Part, str]]) -> Options:
    """The part's defaults, with what `--set` says of it."""
    parser = argparse.ArgumentParser(prog=f"python -m bench all, {part.name}")
    part.add_options(parser)
    return parser.parse_args([size for named, size in sizes if named is part])


if __name__ == "__main__":
    sys.exit(main())
