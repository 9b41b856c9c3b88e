"""`saec rebuild`: a new database from the topics alone."""

from dataclasses import asdict
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import ExitCode, InputError
from saec.cli.instants import parse_past, wall_ms
from saec.contracts.instants import iso
from saec.errors import ConfigurationError, StoreUnavailableError
from saec.recover.errors import RecoverError
from saec.recover.rebuild import Choices, rebuild
from saec.recover.report import Rebuilt
from saec.settings import Settings, load_settings
from saec.store.engine import open_engine


def rebuild_command(
    database: Annotated[
        str, typer.Option(help="The empty database to fill: postgresql://user@host:5432/name.")
    ],
    shards: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Shards; by default as many as before.")
    ] = None,
    add_ledger_partitions: Annotated[
        bool,
        typer.Option(
            "--add-ledger-partitions",
            help="For more shards: add partitions to the ledger at the end. Stop everything first.",
        ),
    ] = False,
    presume_sent_before: Annotated[
        str | None,
        typer.Option(help="What was due before and may have been dispatched counts as sent."),
    ] = None,
    requests_from: Annotated[
        str | None, typer.Option(help="No request published before this needs to be known.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Fill an empty database with what the topics hold: to move, or to see that they hold all.

    Where the topics are is in the settings. Processes may run meanwhile; nothing of theirs is
    changed. Before they can start on the new database, stop them all and run `saec recover` on it:
    that takes what came in since, and fences those of the old one. If it is interrupted, run it
    again: it begins anew.

    Exit code 0 when the database is rebuilt, 1 when a dry run found requests that may have been
    dispatched without the ledger knowing it.

    Example: `saec rebuild --database postgresql://saec@new-host:5432/saec --dry-run`
    """
    _check_url(database)
    now_ms = wall_ms()
    choices = Choices(
        shards,
        _instant("--presume-sent-before", presume_sent_before, now_ms),
        _instant("--requests-from", requests_from, now_ms),
        add_ledger_partitions,
    )
    settings = load_settings()
    try:
        report = rebuild(settings, database, choices, output.note, dry_run=dry_run)
    except StoreUnavailableError as error:
        raise RecoverError(f"{error}\nCheck --database and that PostgreSQL runs.") from None
    if as_json:
        output.as_json(asdict(report))
    else:
        _tell(settings, report, dry_run=dry_run)
    raise typer.Exit(ExitCode.REFUSED if report.doubtful else ExitCode.OK)


def _check_url(database: str) -> None:
    try:
        open_engine(database)
    except ConfigurationError as error:
        raise InputError(str(error).replace("SAEC_DATABASE_URL", "--database")) from None


def _instant(option: str, text: str | None, now_ms: int) -> int:
    return 0 if text is None else parse_past(option, text, now_ms)


def _tell(settings: Settings, report: Rebuilt, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    rows = [
        ("Shards", "", report.shards),
        ("Records of requests", f"{would}read", report.requests_read),
        ("Requests", f"{would}stored", report.requests),
        ("Requests", f"{would}decided anew: their answer is not kept", report.requests_anew),
        ("Requests", f"{would}stored before they are answered", report.ahead),
        ("Cancels", f"{would}given the effect they were answered with", report.cancels),
        ("Cancels", f"{would}decided anew: their answer is not kept", report.undecided),
        ("Records of customers", f"{would}read", report.customers_read),
        ("Batches", f"{would}applied from the ledger", report.batches),
        ("Slices", f"{would}taken out, since they were dispatched", report.slices),
        ("Requests", "dispatched, but not kept any more", report.forgotten),
        ("Requests", f"{would}presumed to be sent", report.presumed_sent),
    ]
    output.table("Rebuild", ("What", "", "Count"), rows)
    topics = settings.topics
    for topic, since_ms in (
        (topics.requests, report.requests_since_ms),
        (topics.ledger, report.ledger_since_ms),
    ):
        since = "its beginning" if since_ms is None else iso(since_ms)
        output.line(f"{topic} is kept from {since}.")
    if report.doubtful:
        output.line(
            f"At most {output.counted(report.doubtful, 'request')}, due from "
            f"{iso(report.doubtful_from_ms)} to {iso(report.doubtful_to_ms)},"
            " may have been dispatched without the ledger knowing it: see --presume-sent-before."
        )
    if dry_run:
        output.line("Nothing was changed.")
        return
    output.line(
        "Done. To use this database: stop every process, let SAEC_DATABASE_URL lead to it, run "
        "`saec recover`, and start the processes."
    )
