"""COPY of plain Python rows on the transaction's own connection.

Invariant: a str without NUL, bytes, int, bool, None, UUID, a list of str or int arrive unchanged.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """COPY `rows`, each as long as `columns`, into `table`."""
    text = io.StringIO("".join(["\t".join(map(_field, row)) + "\n" for row in rows]))
    cursor: Any = connection.connection.cursor()
    with cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", text)


def _field(value: Any) -> str:
    match value:
        case None:
            return "\\N"
        case str():
            return value.translate(_ESCAPES)
        case int() | UUID():
            return str(value)
        case bytes():
            return "\\\\x" + value.hex()
        case list() | tuple():
            return ("{" + ",".join(map(_element, value)) + "}").translate(_ESCAPES)
        case _:
            raise TypeError(f"cannot COPY a {type(value).__name__}")


def _element(value: str | int) -> str:
    """One element of an array literal; a text is always quoted."""
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
