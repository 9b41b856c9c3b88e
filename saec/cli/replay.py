"""`saec replay`: a stretch of a topic, copied into another one.

Invariant: counts and positions are shown, never a key, a value or a header.
"""

import re
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.errors import InputError
from saec.cli.instants import parse_fixed
from saec.contracts.events import canonical_uuid
from saec.replay import Offsets, Options, ReplayRefusedError, Report, Selection, Stage, replay
from saec.settings import load_settings

_OFFSETS = re.compile(r"([0-9]{1,9}):([0-9]{1,18})-([0-9]{1,18})?")


def replay_command(
    topic: Annotated[str, typer.Argument(help="The topic to copy from.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="TOPIC", help="The topic to copy to.")],
    since: Annotated[
        str | None, typer.Option("--since", metavar="INSTANT", help="Not what is older.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="INSTANT", help="Only what is older than that."),
    ] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(
            "--offsets",
            metavar="PARTITION:FIRST-LAST",
            help="Only these, both included; without LAST to the end. Once a partition.",
        ),
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Only of this campaign.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="ID", help="Only about this customer.")
    ] = None,
    request: Annotated[
        str | None, typer.Option("--request", metavar="ID", help="Only about this request.")
    ] = None,
    replay_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="NAME", help="Name the replay. Another name copies another time."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Records a second, at most.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the target if it is missing.")
    ] = False,
    really_into: Annotated[
        str | None,
        typer.Option("--really-into", metavar="TOPIC", help="The target again, if it is live."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Copy a stretch of any topic into another topic: key, value and headers as they are.

    Each record is copied once, however often the same command is run and wherever it was stopped.
    What arrives in the source after the first run does not belong to it.

    An instant is ISO 8601 with a zone, and means a record's timestamp. Topics that SAEC or a
    sender acts on are refused unless they are named twice; the ledger and the answers always.

    Examples:

    `saec replay saec.requests --to saec.replay.audit --create --dry-run`

    `saec replay saec.dispatch.email --to saec.replay.email --campaign may --rate 500`
    """
    selection = Selection(
        topic,
        None if since is None else parse_fixed("--since", since),
        None if until is None else parse_fixed("--until", until),
        tuple(_offsets(text) for text in offsets or ()),
        campaign,
        customer,
        None if request is None else _request(request),
    )
    options = Options(replay_id, rate, create, really_into, dry_run)
    report = _replayed(selection, to, options)
    if as_json:
        output.as_json(asdict(report))
    else:
        _tell(report, dry_run=dry_run)


def _replayed(selection: Selection, target: str, options: Options) -> Report:
    try:
        with closing(_Bar()) as bar:
            return replay(load_settings(), selection, target, options, bar)
    except ReplayRefusedError as refused:
        raise InputError(str(refused)) from None
    except KeyboardInterrupt:
        output.note("Stopped. The same command goes on from what was copied.")
        raise


class _Bar:
    """A bar on stderr for each stage, from when it is known how much there is to do."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._advance: output.Advance | None = None
        self._shown = ExitStack()

    def __call__(self, stage: Stage, done: int, of: int) -> None:
        if stage is not self._stage or self._advance is None:
            self.close()
            self._stage = stage
            self._advance = self._shown.enter_context(output.progress(stage, of))
        self._advance(done)

    def close(self) -> None:
        """Show no more."""
        self._shown.close()


def _offsets(text: str) -> Offsets:
    found = _OFFSETS.fullmatch(text)
    if found is None:
        raise InputError("--offsets: give PARTITION:FIRST-LAST as 0:100-199, or 0:100-")
    partition, first, last = found.groups()
    return Offsets(int(partition), int(first), None if last is None else int(last))


def _request(text: str) -> str:
    try:
        return str(canonical_uuid(text))
    except ValueError:
        raise InputError("--request: not a canonical lowercase UUID") from None


def _tell(report: Report, *, dry_run: bool) -> None:
    if report.partitions:
        _table(report, dry_run=dry_run)
    unreadable = sum(count.unreadable for count in report.partitions.values())
    lost = sum(count.headers_lost for count in report.partitions.values())
    if unreadable:
        records = output.counted(unreadable, "record")
        output.line(f"{records} left out: their content does not say what they are about.")
    if lost:
        records = output.counted(lost, "record")
        output.line(f"{records} without their headers: their names are not UTF-8.")
    if report.copied_before:
        output.line(f"{output.counted(report.copied_before, 'record')} copied by earlier runs.")
    if dry_run:
        records = output.counted(report.chosen, "record")
        output.line(f"{records} would be copied into {report.target}. Nothing was changed.")
    else:
        records = output.counted(report.copied, "record")
        output.line(f"{records} copied into {report.target}. Replay {report.id}.")


def _table(report: Report, *, dry_run: bool) -> None:
    verb = "To copy" if dry_run else "Copied"
    rows = [
        (str(p), str(c.start), str(c.end), c.records, c.chosen, c.chosen_bytes)
        for p, c in sorted(report.partitions.items())
    ]
    columns = ("Partition", "From offset", "Before offset", "Records", verb, "Bytes")
    output.table(report.source, columns, rows)
