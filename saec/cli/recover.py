"""`saec recover`: after PostgreSQL was restored from a backup."""

from dataclasses import asdict
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import ExitCode
from saec.recover.report import Report
from saec.recover.run import recover
from saec.settings import load_settings


def recover_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Bring PostgreSQL up to what Kafka knows, after it was restored from a backup.

    Stop every process first. What was accepted, dispatched, cancelled and registered since the
    backup is taken from Kafka; nothing is answered or sent. It may be interrupted and run again.

    Exit code 0 when all shards can be dispatched again, 1 when some are halted still.

    Example: `saec recover --dry-run`
    """
    report = recover(load_settings(), output.note, dry_run=dry_run)
    if as_json:
        output.as_json(asdict(report))
    else:
        _tell(report, dry_run=dry_run)
    raise typer.Exit(ExitCode.REFUSED if report.halted else ExitCode.OK)


def _tell(report: Report, *, dry_run: bool) -> None:
    if report.nothing:
        output.line("Nothing to recover: the database knows all that Kafka does.")
        return
    would = "would be " if dry_run else ""
    rows = [
        ("Records of requests", f"{would}read again", report.requests_read),
        ("Requests", f"{would}stored again", report.requests),
        ("Cancels", f"{would}given the effect they were answered with", report.cancels),
        ("Cancels", f"{would}decided anew: their answer is not kept", report.undecided),
        ("Requests", f"{would}stored before they are answered", report.ahead),
        ("Records of customers", f"{would}read again", report.customers_read),
        ("Batches", f"{would}applied from the ledger", report.batches),
        ("Slices", f"{would}taken out, since they were dispatched", report.slices),
        ("Halted shards", f"{would}cleared", len(report.cleared)),
    ]
    output.table("Recovery", ("What", "", "Count"), rows)
    for shard, why in sorted(report.halted.items()):
        output.line(f"Shard {shard} stays halted: {why}")
    if not dry_run:
        output.line("Done: start the processes.")
