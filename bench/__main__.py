"""The commands: `python -m bench burst`, and so on; `python -m bench all` for every part.

Exits with 1 when a reader did not see exactly what was asked for.
"""

import argparse
import sys
from pathlib import Path

from bench import burst, campaign, idle, ingest, lateness, restart
from bench.lab import lab
from bench.part import Options, Part
from bench.say import say

PARTS: tuple[Part, ...] = (
    burst.PART,
    campaign.PART,
    ingest.PART,
    lateness.PART,
    restart.PART,
    idle.PART,
)
RESULTS = Path(".bench")


def main() -> int:
    """Run one part, or all of them on the same Kafka and PostgreSQL."""
    given = _arguments()
    parts = [part for part in PARTS if given.part in {"all", part.name}]
    exact = True
    with lab() as parts_of_the_run:
        for part in parts:
            say(f"== {part.name}")
            options = given if given.part != "all" else _defaults(part)
            outcome = part.run(parts_of_the_run, options)
            outcome.write(given.results / f"{part.name}.json")
            sys.stdout.write(outcome.text() + "\n")
            exact = exact and outcome.exact
    say(f"results: {given.results}")
    return 0 if exact else 1


def _arguments() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Example: python -m bench burst --messages 20000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        _add_results(_add(commands, part))
    every = commands.add_parser(
        "all", help="every part, at full size", epilog="Example: python -m bench all"
    )
    _add_results(every)
    return parser.parse_args()


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", part: Part
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        part.name,
        help=part.what.partition("\n")[0],
        description=part.what,
        epilog=f"Example: {part.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    part.add_options(command)
    return command


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help=f"directory of the JSON files ({RESULTS})"
    )


def _defaults(part: Part) -> Options:
    parser = argparse.ArgumentParser()
    part.add_options(parser)
    return parser.parse_args([])


if __name__ == "__main__":
    sys.exit(main())
