"""Customers out of a CSV file: what each line says, or an error that names line and column.

Invariant: what comes out passed the checks of the registry's consumer, addresses too; an empty cell
says nothing, unless it was chosen that it clears; no error quotes a value.
"""

import csv
import json
import re
import string
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from saec.cli.errors import InputError
from saec.contracts.decode import RejectedError, decode_customer
from saec.ingest import addresses
from saec.ingest.addresses import AddressError

COLUMNS = ("id", "name", "email", "phone", "opted_out")
CLEARABLE = ("email", "phone", "opted_out")

_CHECKS: dict[str, Callable[[str], str]] = {"email": addresses.email, "phone": addresses.phone}
# What stands around a cell and is not seen: blanks of all kinds, marks of no width.
_AROUND = string.whitespace + "\u00a0\u2007\u202f\u200b\u200e\u200f\u202a\u202c\u2060\ufeff"
_DAMAGE: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"=.*", "a formula, as spreadsheets write it; give the value alone"),
        (r"'.*", "begins with an apostrophe, as spreadsheets mark a text; take it off"),
        (r"(?i:null|none|nan|n/a)|\\N|#[A-Z/]+[!?]?", "a word for nothing; leave the cell empty"),
    )
]
_NUMBERS: list[tuple[re.Pattern[str], str]] = [
    (
        re.compile(r"[0-9][.,][0-9]+[eE]\+?[0-9]{1,2}"),
        "in scientific notation, as spreadsheets write it: its last digits are lost",
    ),
    (re.compile(r"[0-9]+[.,]0+"), "a number with decimals; give the digits alone"),
]


@dataclass(slots=True)
class Changes:
    """What a file would do, in customers."""

    customers: int = 0
    email: int = 0
    phone: int = 0
    opted_out: int = 0
    cleared: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLEARABLE, 0))
    left_out: list[str] = field(default_factory=list)
    """Addresses that are not valid and are left out, in words."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one file. `clears`: the columns in which an empty cell clears what is registered."""

    path: Path
    clears: Set[str] = frozenset()
    leave_out: bool = False
    max_bytes: int = 1_000_000

    def check(self) -> tuple[Changes, list[str]]:
        """What the file would do, and what is wrong with it."""
        changes, errors = Changes(), list[str]()
        lines: dict[str, int] = {}
        for line_no, cells in self._rows():
            id_ = cells.get("id", "")
            if id_ and lines.setdefault(id_, line_no) != line_no:
                errors.append(f"line {line_no}: the same id as in line {lines[id_]}")
            wrong = self._wrong(line_no, cells, changes)
            errors.extend(wrong)
            if not wrong:
                _count(changes, self._event(cells))
        return changes, errors

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Each customer's id and registration, of a file that `check` found to be right."""
        for _, cells in self._rows():
            event = self._event(cells)
            yield event["id"], _encoded(event)

    def _wrong(self, line_no: int, cells: dict[str, str], changes: Changes) -> list[str]:
        if "" in cells:
            return [f"line {line_no}: {cells['']}"]
        wrong = []
        for column, text in cells.items():
            words = _damage(column, text)
            invalid = None if words else _invalid(column, text)
            if words or (invalid and not self.leave_out):
                wrong.append(f"line {line_no}, column {column}: {words or invalid}")
            elif invalid:
                changes.left_out.append(f"line {line_no}, column {column}: {invalid}")
        return wrong or self._refused(line_no, cells)

    def _refused(self, line_no: int, cells: dict[str, str]) -> list[str]:
        event = self._event(cells)
        try:
            decode_customer(event["id"].encode(), _encoded(event), None, self.max_bytes)
        except RejectedError as rejected:
            return [f"line {line_no}: {rejected}"]
        return []

    def _event(self, cells: dict[str, str]) -> dict[str, Any]:
        event: dict[str, Any] = {"type": "saec.v1.CustomerRegistered", "id": cells.get("id", "")}
        for column in ("name", "email", "phone"):
            text = cells.get(column, "")
            if text and not _invalid(column, text):
                event[column] = text
            elif not text and column in cells and column in self.clears:
                event[column] = ""
        if "opted_out" in cells:
            names = [name.strip().upper() for name in cells["opted_out"].split("|")]
            channels = [name for name in names if name]
            if channels or "opted_out" in self.clears:
                event["opted_out"] = channels
        return event

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each customer's cells by column, with the number of the line they end on."""
        try:
            _refuse_utf16(self.path)
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                yield from _read_rows(lines)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{self.path}: not UTF-8; save it as CSV UTF-8") from None
        except csv.Error as error:
            raise InputError(f"{self.path}: not CSV: {error}") from None


def _encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _count(changes: Changes, event: dict[str, Any]) -> None:
    changes.customers += 1
    for column in CLEARABLE:
        if event.get(column):
            setattr(changes, column, getattr(changes, column) + 1)
        elif column in event:
            changes.cleared[column] += 1


def _damage(column: str, text: str) -> str | None:
    """What a spreadsheet or an export made of a cell, in words."""
    if column == "name":  # which SAEC does not keep, and people have all sorts of
        return None
    known = _DAMAGE + _NUMBERS if column == "id" else _DAMAGE
    return next((words for pattern, words in known if pattern.fullmatch(text)), None)


def _invalid(column: str, text: str) -> str | None:
    """Why an address is kept out, in the words of the registry's consumer."""
    check = _CHECKS.get(column)
    if check is None or not text:
        return None
    try:
        check(text)
    except AddressError as error:
        return str(error)
    return None


def _refuse_utf16(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in start:
        raise InputError(f"{path}: UTF-16, by its first bytes; save it as CSV UTF-8")


def _read_rows(lines: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, strict=True, delimiter=_delimiter(lines))
    header = [name.strip(_AROUND) for name in next(reader, [])]
    _check_header(header)
    for row in reader:
        cells = [cell.strip(_AROUND) for cell in row]
        if any(cells):  # Excel keeps rows that were emptied
            # a row of another length is an error of that line, not of the file
            yield reader.line_num, dict(zip(header, cells, strict=False)) | _length(header, cells)


def _check_header(header: list[str]) -> None:
    """Raises InputError: says what was seen, but not the words, which may be a person's."""
    if "id" in header and set(header) <= set(COLUMNS) and len(set(header)) == len(header):
        return
    wanted = f"line 1: give a header with id and some of {', '.join(COLUMNS[1:])}"
    raise InputError(f"{wanted}; {_seen(header)}")


def _seen(header: list[str]) -> str:
    if not any(header):
        return "it is empty"
    if len(header) == 1 and "\t" in header[0]:
        return "its cells are separated by tabs: save it with commas or semicolons"
    if "" in header:
        return f"column {header.index('') + 1} has no name: take the separator too many off"
    for place, name in enumerate(header, 1):
        if name not in COLUMNS:
            small = name.lower() in COLUMNS
            return f"column {place} " + ("is not in small letters" if small else "has another name")
        if name in header[: place - 1]:
            return f"column {place} has the name of another one"
    return "id is missing"


def _delimiter(lines: TextIO) -> str:
    """A comma, or what Excel writes where the comma is the decimal sign; no column's name has one.

    Rewinds `lines`.
    """
    first = lines.readline()
    lines.seek(0)
    return ";" if ";" in first and "," not in first else ","


def _length(header: list[str], cells: list[str]) -> dict[str, str]:
    return {} if len(header) == len(cells) else {"": f"{len(cells)} cells, not {len(header)}"}
