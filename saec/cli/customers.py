"""`saec customers`: load the registry from a file, erase customers.

Invariant: everything given is valid before the first record is published; an error names the line
and the column, or the position, never a value.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from saec.cli import output
from saec.cli.compose import invalid_lines
from saec.cli.errors import Commands, ExitCode, InputError
from saec.cli.publishing import JSON_HEADERS
from saec.contracts.decode import RejectedError, decode_customer
from saec.kafka.publish import Delivery, publish
from saec.kafka.records import Outgoing
from saec.settings import Settings, load_settings

COLUMNS = ("id", "name", "email", "phone", "opted_out")

customers = typer.Typer(cls=Commands, no_args_is_help=True, help="The registry of customers.")


@customers.callback()
def _group() -> None:
    """The registry of customers."""


@customers.command("load")
def load_command(
    file: Annotated[
        Path, typer.Argument(help="CSV in UTF-8 with a header line; commas or semicolons.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Publish the customers in a CSV file to the registry's topic.

    Columns: id, and as far as known name, email, phone, opted_out (channels, separated by |).
    A customer that is registered already is replaced. Invalid addresses are kept out by the
    registry's consumer, with an answer on the status topic: `saec tail status`.

    Example: `saec customers load customers.csv`
    """
    settings = load_settings()
    total = _validate(settings, file)
    delivery = _publish(settings, _records(settings, file), total)
    _tell(
        delivery,
        f"{output.counted(delivery.delivered, 'customer')} published to "
        f"{settings.topics.customers}",
        "Load the file again: a customer is simply replaced.",
        as_json=as_json,
    )


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
    if delivery.failures:
        output.error(
            f"{output.counted(len(delivery.failures), 'record')} not acknowledged: "
            f"{delivery.failures[0].why}. {advice}"
        )
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _validate(settings: Settings, file: Path) -> int:
    """How many customers the file holds. Raises InputError."""
    errors, total = [], 0
    for line_no, fields in _rows(file):
        total += 1
        try:
            record = _record(settings, fields)
            decode_customer(record.key, record.value, record.headers, settings.max_request_bytes)
        except RejectedError as rejected:
            errors.append(f"line {line_no}: {rejected}")
        except InputError as error:
            errors.append(f"line {line_no}: {error}")
    if errors:
        raise invalid_lines(errors)
    if not total:
        raise InputError(f"{file}: no customer below the header; nothing was published")
    return total


def _records(settings: Settings, file: Path) -> Iterator[Outgoing]:
    return (_record(settings, fields) for _, fields in _rows(file))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each customer's cells by column, with the number of the line they end on."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from _read_rows(lines)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file}: not CSV: {error}") from None


def _read_rows(lines: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, strict=True, delimiter=_delimiter(lines))
    header = [name.strip() for name in next(reader, [])]
    if "id" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise InputError(f"line 1: give a header with id and some of {', '.join(COLUMNS[1:])}")
    for cells in reader:
        if not cells:
            continue
        # a row of another length is an error of that line, not of the file
        yield reader.line_num, dict(zip(header, cells, strict=False)) | _length(header, cells)


def _delimiter(lines: TextIO) -> str:
    """A comma, or what Excel writes where the comma is the decimal sign; no column's name has one.

    Rewinds `lines`.
    """
    first = lines.readline()
    lines.seek(0)
    return ";" if ";" in first and "," not in first else ","


def _length(header: list[str], cells: list[str]) -> dict[str, str]:
    return {} if len(header) == len(cells) else {"": f"{len(cells)} cells, not {len(header)}"}


def _record(settings: Settings, fields: dict[str, str]) -> Outgoing:
    if "" in fields:
        raise InputError(fields[""])
    opted_out = [channel.strip().upper() for channel in fields.get("opted_out", "").split("|")]
    event = {
        "type": "saec.v1.CustomerRegistered",
        "id": fields["id"],
        "name": fields.get("name") or None,
        "email": fields.get("email") or None,
        "phone": fields.get("phone") or None,
        "opted_out": [channel for channel in opted_out if channel],
    }
    value = json.dumps(event, ensure_ascii=False).encode()
    return Outgoing(settings.topics.customers, value, fields["id"].encode(), JSON_HEADERS)
