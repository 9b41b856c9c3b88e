"""`saec customers`: load the registry from a file, erase customers.

Invariant: everything given is valid before the first record is published; an error names the line
and the column, or the position, never a value.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from saec.cli import output
from saec.cli.compose import invalid_lines
from saec.cli.customer_file import CLEARABLE, Changes, Reader
from saec.cli.errors import Commands, ExitCode, InputError
from saec.cli.publishing import JSON_HEADERS
from saec.contracts.decode import RejectedError, decode_customer
from saec.kafka.publish import Delivery, publish
from saec.kafka.records import Outgoing
from saec.settings import Settings, load_settings

customers = typer.Typer(cls=Commands, no_args_is_help=True, help="The registry of customers.")


@customers.callback()
def _group() -> None:
    """The registry of customers."""


@customers.command("load")
def load_command(
    file: Annotated[
        Path, typer.Argument(help="CSV in UTF-8 with a header line; commas or semicolons.")
    ],
    *,
    empty_clears: Annotated[
        list[str] | None,
        typer.Option(
            "--empty-clears",
            metavar="COLUMN",
            help="In this column (email, phone or opted_out) an empty cell clears what is "
            "registered; repeat it.",
        ),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out",
            help="Leave addresses out that are not valid, and publish the rest; ends with 1.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; publish nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Publish the customers in a CSV file to the registry's topic.

    Columns: id, and as far as known name, email, phone, opted_out (channels, separated by |).
    What the file does not say stays as it is registered: a column that is not there, a cell that
    is empty. Everything is checked before anything is published, each address too.

    Examples:

    `saec customers load customers.csv --dry-run`

    `saec customers load back.csv --empty-clears opted_out`
    """
    settings = load_settings()
    reader = Reader(file, _clearable(empty_clears or []), leave_out, settings.max_request_bytes)
    changes = _checked(reader)
    if dry_run:
        _tell_changes(changes, "would be registered or changed", as_json=as_json)
    else:
        delivery = _publish(settings, _records(settings, reader), changes.customers)
        _tell_loaded(settings, changes, delivery, as_json=as_json)
    if changes.left_out:
        raise typer.Exit(ExitCode.REFUSED)


@customers.command("erase")
def erase_command(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Customer ids.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Take customers out of the registry: publishes a record without a value for each.

    Their addresses leave the registry as soon as its consumer reads that. What is due for them
    later is not sent, as it is for a customer who was never registered.

    Example: `saec customers erase 42 43`
    """
    settings = load_settings()
    records = [_erasure(settings, place, text) for place, text in enumerate(ids, 1)]
    delivery = _publish(settings, records, len(records))
    _tell(
        delivery,
        f"{output.counted(delivery.delivered, 'erasure')} published to {settings.topics.customers}",
        "Erase them again: a repetition changes nothing.",
        as_json=as_json,
    )


def _erasure(settings: Settings, place: int, customer_id: str) -> Outgoing:
    """The record that erases a customer. Raises InputError."""
    try:
        key = customer_id.encode()
        decode_customer(key, None, None, settings.max_request_bytes)
    except (RejectedError, UnicodeEncodeError):
        raise InputError(f"ID {place}: not a customer's id; nothing was published") from None
    return Outgoing(settings.topics.customers, None, key, [])


def _publish(settings: Settings, records: Iterable[Outgoing], total: int) -> Delivery:
    with output.progress("Publishing", total) as advance:
        return publish(settings, records, advance)


def _tell(delivery: Delivery, done: str, advice: str, *, as_json: bool) -> None:
    """Print what became of the records; ends the command when some were not acknowledged."""
    if as_json:
        output.as_json({"published": delivery.delivered, "failed": len(delivery.failures)})
    else:
        output.line(done)
    _end_if_failed(delivery, advice)


def _end_if_failed(delivery: Delivery, advice: str) -> None:
    if delivery.failures:
        output.error(
            f"{output.counted(len(delivery.failures), 'record')} not acknowledged: "
            f"{delivery.failures[0].why}. {advice}"
        )
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _clearable(columns: list[str]) -> frozenset[str]:
    if not set(columns) <= set(CLEARABLE):
        raise InputError(f"--empty-clears: give one of {', '.join(CLEARABLE)}")
    return frozenset(columns)


def _checked(reader: Reader) -> Changes:
    """What the file would change. Raises InputError: all that is wrong with it."""
    changes, errors = reader.check()
    if errors:
        raise invalid_lines(errors)
    if not changes.customers:
        raise InputError(f"{reader.path}: no customer below the header; nothing was published")
    return changes


def _records(settings: Settings, reader: Reader) -> Iterator[Outgoing]:
    for id_, value in reader.records():
        yield Outgoing(settings.topics.customers, value, id_.encode(), JSON_HEADERS)


def _tell_loaded(
    settings: Settings, changes: Changes, delivery: Delivery, *, as_json: bool
) -> None:
    if as_json:
        output.as_json(
            {"published": delivery.delivered, "failed": len(delivery.failures)} | asdict(changes)
        )
    else:
        _tell_changes(changes, f"published to {settings.topics.customers}", as_json=False)
    _end_if_failed(delivery, "Load the file again: it says the same again.")


def _tell_changes(changes: Changes, done: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json(asdict(changes))
        return
    output.line(f"{output.counted(changes.customers, 'customer')} {done}")
    said = [
        f"{output.counted(count, what)} set"
        for count, what in (
            (changes.email, "e-mail address"),
            (changes.phone, "phone number"),
            (changes.opted_out, "customer's opt-out"),
        )
        if count
    ]
    said += [f"{column} cleared of {count:,}" for column, count in changes.cleared.items() if count]
    if said:
        output.note(", ".join(said))
    if changes.left_out:
        output.error("left out:\n" + "\n".join(f"  {text}" for text in changes.left_out[:20]))
