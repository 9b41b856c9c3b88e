"""The registry of customers, as their events left it.

Invariant: of all records about a customer the newest by (append time, partition, offset) stands,
in whatever order and however often they arrive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from sqlalchemy import Connection

from saec.store.copying import copy_rows
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One row of `customers`, in column order."""

    customer_id: str
    email: str | None
    phone: str | None
    opted_out: int
    erased: bool
    appended_at_ms: int
    source_partition: int
    source_offset: int


class Contact(NamedTuple):
    """What dispatch needs to know of a customer. `opted_out` is a set of channel bits."""

    email: str | None
    phone: str | None
    opted_out: int


_COLUMNS = [field.name for field in fields(CustomerRow)]

_STAGE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS registering (LIKE customers) ON COMMIT DELETE ROWS
"""

# DISTINCT ON keeps the newest of a batch; sorted by id, so that two processes cannot deadlock.
_UPSERT = f"""
    INSERT INTO customers AS stored ({", ".join(_COLUMNS)})
    SELECT DISTINCT ON (customer_id) {", ".join(_COLUMNS)} FROM registering
    ORDER BY customer_id, appended_at_ms DESC, source_partition DESC, source_offset DESC
    ON CONFLICT (customer_id) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
    WHERE (excluded.appended_at_ms, excluded.source_partition, excluded.source_offset)
        > (stored.appended_at_ms, stored.source_partition, stored.source_offset)
"""

_CONTACTS = """
    SELECT customer_id, email, phone, opted_out
    FROM customers WHERE customer_id = ANY(%(ids)s) AND NOT erased
"""


def upsert_customers(connection: Connection, arriving: Sequence[CustomerRow]) -> None:
    """Bring the registry up to these records."""
    count(connection, _STAGE)
    copy_rows(
        connection,
        "registering",
        _COLUMNS,
        ([getattr(row, name) for name in _COLUMNS] for row in arriving),
    )
    count(connection, _UPSERT)


def read_contacts(connection: Connection, ids: Iterable[str]) -> dict[str, Contact]:
    """The contacts of the customers that are registered and not erased."""
    found = rows(connection, _CONTACTS, ids=list(ids))
    return {id_: Contact(email, phone, opted_out) for id_, email, phone, opted_out in found}
