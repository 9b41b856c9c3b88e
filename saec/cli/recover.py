"""`saec recover`: after PostgreSQL was restored from a backup."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import ExitCode, InputError
from saec.recover.anchor import Change
from saec.recover.report import Report
from saec.recover.run import reanchor, recover
from saec.settings import load_settings


class Claimed(StrEnum):
    """What slices count as of which only a lost ledger knew whether they were sent."""

    SENT = "sent"
    UNSENT = "unsent"


def recover_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    new_cluster: Annotated[
        bool,
        typer.Option("--new-cluster", help="Begin anew with another Kafka, or recreated topics."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --new-cluster: do it.")] = False,
    claimed: Annotated[
        Claimed | None,
        typer.Option(help="With --new-cluster: what slices that were on their way count as."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Bring PostgreSQL up to what Kafka knows, after it was restored from a backup.

    Stop every process first. What was accepted, dispatched, cancelled and registered since the
    backup is taken from Kafka; nothing is answered or sent. It may be interrupted and run again.

    Exit code 0 when all shards can be dispatched again, 1 when some are halted still.

    With --new-cluster nothing is recovered: the database is tied to the Kafka that is there now.
    Without --yes it only explains what that means.

    Example: `saec recover --dry-run`
    """
    if new_cluster:
        _begin_anew(yes=yes and not dry_run, claimed=claimed, as_json=as_json)
        return
    if yes or claimed is not None:
        raise InputError("--yes and --claimed go with --new-cluster")
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


def _begin_anew(*, yes: bool, claimed: Claimed | None, as_json: bool) -> None:
    sent = None if claimed is None else claimed is Claimed.SENT
    change = reanchor(load_settings(), yes=yes, claimed_sent=sent)
    if as_json:
        output.as_json(asdict(change))
    elif not change.changed:
        output.line("This is the Kafka that the database knows: nothing to do.")
    else:
        _explain(change)
        output.line("Done: start the processes." if yes else "Nothing was changed: add --yes.")
    raise typer.Exit(ExitCode.REFUSED if change.changed and not yes else ExitCode.OK)


def _explain(change: Change) -> None:
    output.line("This is not the Kafka that the database knows:")
    for what in change.changed:
        output.line(f"- {what}")
    slices = output.counted(change.pending_slices, "pending slice")
    output.line(f"What stays: {slices}, the history, and the registry.")
    if change.requests:
        output.line(
            "Requests are read from the beginning of their new topic. What was published to the "
            "old one and not taken in yet is not known here: have it sent again. What comes again "
            "is a duplicate, and harmless."
        )
    if change.customers:
        output.line(
            "The registry is read from the beginning of its new topic. A change that was published "
            "to the old one and not taken in yet, an erasure too, is not known here."
        )
    if change.ledger:
        output.line(
            "The ledger begins anew. Whatever the old one held that this database does not know, "
            "as after a restore, would go out again."
        )
    if change.in_doubt:
        doubtful = output.counted(change.in_doubt, "slice")
        output.line(
            f"{doubtful} of these were on their way; whether they left only the old ledger knew. "
            "Look into the old channel topics, or choose: --claimed sent (never sent again, "
            "perhaps lost) or --claimed unsent (sent, perhaps for the second time)."
        )
