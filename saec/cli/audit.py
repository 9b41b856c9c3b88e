"""`saec audit`: does what was dispatched agree with what was asked?

Invariant: exit code 0 only when it reconciles.
"""

import importlib
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from saec.cli import output
from saec.cli.errors import ExitCode, InputError
from saec.cli.instants import duration_ms, parse_instant, parse_past, wall_ms
from saec.errors import ConfigurationError
from saec.private import for_us_alone
from saec.settings import load_settings

_SHOWN = 20


def audit_command(
    since: Annotated[
        str | None, typer.Option(help="Only what is due from then on: 7d ago, or an instant.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only what is due before then: an instant, or `now`.")
    ] = None,
    campaign: Annotated[str | None, typer.Option(help="Only this campaign.")] = None,
    requester: Annotated[str | None, typer.Option(help="Only this requester.")] = None,
    late: Annotated[
        str, typer.Option(help="A message is late when it leaves so long after its instant.")
    ] = "5m",
    store: Annotated[
        bool, typer.Option("--store", help="Compare PostgreSQL with the topics as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with the findings.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every finding into this file.")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with plots into this file, to open offline."),
    ] = None,
    most: Annotated[
        int, typer.Option(min=0, help="How many findings to show; the files have all of them.")
    ] = _SHOWN,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Where to keep what was read, until it is done: about 60 bytes a record."
        ),
    ] = None,
    memory_mb: Annotated[
        int | None,
        typer.Option(min=64, help="Memory for sorting and joining; what is beyond goes to disk."),
    ] = None,
) -> None:
    """Hold what was asked against what was dispatched, from the topics alone.

    Reads requests, answers, the ledger and the channels' topics (read_committed), works out what
    must have been dispatched, and names every record that disagrees. Nothing is changed. When it is
    interrupted, the same command goes on where it stopped.

    With --store it also reads the tables of the database of SAEC_DATABASE_URL, as they stand at one
    instant, and names every row that is not what the topics say.

    Exit code 0 only when it reconciles, 1 when it does not.

    Example: `saec audit --since 7d --csv findings.csv --html audit.html`
    """
    audited = _needs_extra("saec.cli.audited")
    paged = None if html_file is None else _needs_extra("saec.audit.page")
    _check_place("--csv", csv_file)
    _check_place("--html", html_file)
    settings = load_settings()
    scope = audited.Scope(
        None if since is None else parse_past("--since", since, wall_ms()),
        None if until is None else parse_instant("--until", until, wall_ms()),
        campaign,
        requester,
        store,
    )
    if store and not scope.whole:
        raise InputError("--store compares all of it: leave out what narrows it")
    # By what was typed: `7d` is another instant when the same command is run again.
    name = repr((since, until, campaign, requester, store))
    how = {"late_ms": _late_ms(late), "directory": work, "name": name}
    if memory_mb is not None:
        how["memory_mb"] = memory_mb
    began_s = time.monotonic()
    with (
        for_us_alone(),  # the ids of customers stand in whatever is written
        output.progress_of("Reading") as told,
        audited.audit(settings, scope, told=told, **how) as done,
    ):
        seconds = time.monotonic() - began_s
        if csv_file is not None:
            audited.write_csv(csv_file, done)
        if html_file is not None and paged is not None:
            html_file.write_text(paged.page(done.report, done.findings()), encoding="utf-8")
        if as_json:
            output.as_json(audited.as_dict(done, seconds, most))
        else:
            audited.show(done, seconds, most)
        code = ExitCode.OK if done.report.reconciles else ExitCode.REFUSED
    raise typer.Exit(code)


def _needs_extra(name: str) -> Any:
    """A module of the audit; it needs packages that not everybody installs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"an audit needs a package that is not installed ({error.name}): run "
            '`pip install "saec[audit]"`'
        ) from None


def _check_place(option: str, path: Path | None) -> None:
    """Better told now than after everything was read."""
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{option}: give a file that can be written, in a folder that exists")
    if path.is_file():
        if path.stat().st_uid != os.geteuid():
            raise InputError(f"{option}: that file belongs to another user; give one of your own")
        path.chmod(0o600)


def _late_ms(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError:
        raise InputError("--late: give a duration: 10s, 5m, 2h, 1d") from None
