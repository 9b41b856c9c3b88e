"""COPY of plain Python rows on the transaction's own connection.

Invariant: a str without NUL, bytes, int, bool, None, UUID, a list of str or int arrive unchanged.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import Connection

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """COPY `rows`, each as long as `columns`, into `table`."""
    cursor: Any = connection.connection.cursor()
    text = _Text(rows)
    with cursor:
        try:
            cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", text)
        except psycopg2.Error:
            if text.failure is not None:  # ours, and not the database's
                raise text.failure from None
            raise


class _Text:
    """Rows as the text of a COPY, made as it is read: a slice's message may be large."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self.failure: Exception | None = None
        self._lines = ("\t".join(map(_field, row)) + "\n" for row in rows)

    def read(self, size: int) -> str:
        """The next lines, about `size` characters or more; empty at the end."""
        taken, length = [], 0
        try:
            for line in self._lines:
                taken.append(line)
                length += len(line)
                if length >= size:
                    break
        except Exception as error:
            self.failure = error
            raise
        return "".join(taken)


def _field(value: Any) -> str:
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"cannot COPY a {type(value).__name__}")
    return write(value)


def _text(value: str) -> str:
    return value.translate(_ESCAPES)


def _array(value: Sequence[str | int]) -> str:
    return ("{" + ",".join(map(_element, value)) + "}").translate(_ESCAPES)


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "\\N",
    str: _text,
    int: str,
    bool: str,
    UUID: str,
    bytes: lambda value: "\\\\x" + value.hex(),
    list: _array,
    tuple: _array,
}


def _element(value: str | int) -> str:
    """One element of an array literal; a text is always quoted."""
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
