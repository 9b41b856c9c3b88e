"""`saec demo`: the main job on real parts, with a verdict."""

import dataclasses
from typing import Annotated

import typer
from rich.console import Console

from saec.cli import output
from saec.cli.errors import ExitCode
from saec.demo.run import run_demo
from saec.demo.screen import Screen
from saec.supervise.signals import interrupting

_INTERRUPTED = 130
"""As shells say it: there is no verdict, neither a good nor a bad one."""


def demo_command(
    as_json: Annotated[
        bool, typer.Option("--json", help="The verdict as JSON; everything else on stderr.")
    ] = False,
) -> None:
    """Run the main job on a Kafka and a PostgreSQL started for it, and judge the result.

    Schedules messages that are due over 15 seconds, shows them arrive, reads the topics back and
    compares. Takes under a minute; leaves nothing behind. Exit code 1 when a message is missing,
    duplicate, early or altered, or an answer is wrong.

    Example: `saec demo`
    """
    screen = Screen(Console(stderr=as_json, highlight=False))
    try:
        with interrupting():
            verdict = run_demo(screen)
    except KeyboardInterrupt:
        output.note("Stopped.")
        raise typer.Exit(_INTERRUPTED) from None
    screen.verdict(verdict)
    if as_json:
        output.as_json({"ok": verdict.ok} | dataclasses.asdict(verdict))
    if not verdict.ok:
        raise typer.Exit(ExitCode.REFUSED)
